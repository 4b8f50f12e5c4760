"""The example of docs/task-runners.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "task-runners.md"


def test_the_example_runs_as_a_script(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = tmp_path / "report.py"
    script.write_text(f"{example}\nprint(report(['a', 'bcd']))\n")
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "[1, 3]\n", ended.stderr
