"""The example of docs/fingerprints.md shows what the page says it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "fingerprints.md"


def test_the_example_prints_what_was_followed(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "page.py").write_text(example)
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert rows[0][0] == "fingerprint"
    assert rows[1:] == [["function", "__main__.work"], ["global", "__main__.RATE"], ["function", "__main__.scale"]]
