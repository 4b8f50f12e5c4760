"""The examples of docs/transactions.md, run from top to bottom as one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "transactions.md"


def test_the_examples_run_and_do_what_the_page_says(records, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 4
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks))
    namespace: dict = {"__name__": "page"}
    exec(compile(program.read_text(), str(program), "exec"), namespace)
    assert len(records()) == 2, "the invoice and the trained model; what was undone left nothing"
    with pytest.raises(RuntimeError):
        namespace["pipeline"](True)
    assert "load" not in records()
    assert namespace["pipeline"](False) == 6
    assert {"load", "total"} < set(records())
