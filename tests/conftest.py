"""Every test gets a home of its own, no warnings said before, and the rounds it is asked for."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flowstone.warn import forget_warnings

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))

settings.register_profile(
    "flowstone",
    max_examples=60 * ROUNDS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("flowstone")


def pytest_configure(config: pytest.Config) -> None:
    """Make every module in tests/plugins a plugin of this run: fixtures that several folders of tests share."""
    for path in sorted((Path(__file__).parent / "plugins").glob("*.py")):
        name = f"flowstone_test_plugin_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config.pluginmanager.register(module, name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh FLOWSTONE_HOME, and no other setting of flowstone's from outside."""
    for name in [name for name in os.environ if name.startswith("FLOWSTONE_") and name != "FLOWSTONE_TEST_ROUNDS"]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("FLOWSTONE_HOME", str(folder))
    forget_warnings()
    return folder


@pytest.fixture
def records(home: Path) -> RecordLister:
    """Lists the keys of the records in the default store."""
    return RecordLister(home / "storage")


class RecordLister:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> list[str]:
        if not self.folder.exists():
            return []
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(file) for file in files if not str(file).startswith(".flowstone"))
