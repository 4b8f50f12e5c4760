from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowstone.settings import reload_settings
from flowstone.warn import forget_warnings


class House:
    """A user's surroundings of their own: an empty current folder, a home, and no setting set."""

    def __init__(self, root: Path) -> None:
        self.work = root / "work"
        self.home = root / "user" / ".flowstone"

    @property
    def profiles(self) -> Path:
        return self.home / "profiles.toml"

    def write_profiles(self, text: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.profiles.write_text(text)
        reload_settings()

    def write(self, name: str, text: str) -> Path:
        path = self.work / name
        path.write_text(text)
        reload_settings()
        return path


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(tmp_path)
    house.work.mkdir()
    (tmp_path / "user").mkdir()
    for name in [name for name in os.environ if name.startswith("FLOWSTONE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "user"))
    monkeypatch.chdir(house.work)
    forget_warnings()
    reload_settings()
    return house
