"""Projects on disk that tests write, import, edit and import again."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SRC = Path(__file__).parents[2] / "src"


class Project:
    """A folder of modules that can be imported here, or run in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str, *, age: float = 0) -> Path:
        """Write a file; one of an `age` (in seconds) was last changed then."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        if age:
            at = path.stat().st_mtime - age
            os.utime(path, (at, at))
        return path

    def load(self, name: str) -> ModuleType:
        """Import a module as a new process would: from its text, and with nothing left of an earlier import."""
        importlib.invalidate_caches()
        for loaded in [known for known in sys.modules if known.partition(".")[0] == name.partition(".")[0]]:
            del sys.modules[loaded]
        return importlib.import_module(name)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            input=textwrap.dedent(stdin),
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(SRC), **environment},
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # files change faster here than compiled ones can tell
    yield Project(folder)
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
