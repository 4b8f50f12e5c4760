"""Type checkers accept what users may write and refuse what they may not, line by line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowstone.flows import _OPTIONS as FLOW_OPTIONS
from flowstone.signatures import FlowOptions, TaskOptions
from flowstone.tasks import _OPTIONS as TASK_OPTIONS

ROOT = Path(__file__).parents[2]
CODE = Path(__file__).with_name("user_code.py")
WRONG = {number for number, line in enumerate(CODE.read_text().splitlines(), 1) if line.endswith("# wrong")}


def run(*command: str) -> str:
    ended = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode in (0, 1), ended.stderr + ended.stdout
    return ended.stdout


def test_mypy_refuses_the_wrong_lines_and_no_others(tmp_path):
    pytest.importorskip("mypy")
    told = run(
        "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path), "--hide-error-context", str(CODE)
    )
    errors = {int(line.split(":")[1]): line for line in told.splitlines() if ": error:" in line}
    assert all("user_code.py" in line for line in errors.values()), told
    assert errors.keys() == WRONG, told


def test_pyright_refuses_the_wrong_lines_and_no_others():
    pytest.importorskip("pyright")
    told = json.loads(run("pyright", "--outputjson", str(CODE)))
    errors = {one["range"]["start"]["line"] + 1: one["message"] for one in told["generalDiagnostics"]}
    assert errors.keys() == WRONG, {line: told for line, told in errors.items() if line not in WRONG}


def test_the_typed_options_are_the_options():
    assert TaskOptions.__annotations__.keys() == TASK_OPTIONS
    assert FlowOptions.__annotations__.keys() == FLOW_OPTIONS
