from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flowstone.cli import main
from flowstone.settings.current import forget_settings
from flowstone.warn import forget_warnings

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of their own, whose home of flowstone's this is (not made yet), in an empty folder, with nothing set."""
    (tmp_path / "work").mkdir()
    (tmp_path / "user").mkdir()
    for name in [name for name in os.environ if name.startswith("FLOWSTONE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path / "work")
    forget_warnings()
    forget_settings()
    return tmp_path / "user" / ".flowstone"


@pytest.fixture
def run(home: Path) -> Run:
    """Runs `flowstone` with some arguments in this process."""

    def run(*arguments: str, given: str | None = None) -> Result:
        forget_settings()
        return CliRunner().invoke(main, list(arguments), input=given, prog_name="flowstone")

    return run
