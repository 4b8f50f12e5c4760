"""From a path or a URL to a storage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flowstone.filesystems
from flowstone.exceptions import ConfigurationError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem, NullFileSystem, resolve_storage


def test_a_storage_names_itself() -> None:
    storage = NullFileSystem()
    assert resolve_storage(storage) is storage


def test_paths_name_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spec in (tmp_path / "x", str(tmp_path / "x"), "x", Path("x"), "./x/"):
        storage = resolve_storage(spec)
        assert isinstance(storage, LocalFileSystem)
        assert storage.basepath == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("FILE:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("file:///with%20space/%c3%a9", "/with space/é"),
        ("file:///odd%zz", "/odd%zz"),
    ],
)
def test_file_urls_name_folders(url: str, path: str) -> None:
    storage = resolve_storage(url)
    assert isinstance(storage, LocalFileSystem)
    assert storage.basepath == path


def test_memory_urls_name_places_in_memory() -> None:
    name = os.urandom(8).hex()
    assert resolve_storage(f"memory://{name}").identity == resolve_storage(f"memory://{name}/").identity
    assert isinstance(resolve_storage("memory://"), MemoryFileSystem)


@pytest.mark.parametrize("spec", ["", 7, None, b"bytes", ["list"], "file://elsewhere/a", "file://relative"])
def test_what_names_no_storage_is_refused_with_what_it_was(spec: object) -> None:
    with pytest.raises(ConfigurationError):
        resolve_storage(spec)  # type: ignore[arg-type]


def test_all_public_names_are_there_and_others_are_not() -> None:
    for name in flowstone.filesystems.__all__:
        assert getattr(flowstone.filesystems, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        flowstone.filesystems.Nonsense  # type: ignore[attr-defined]


def test_what_needs_more_packages_is_imported_when_asked_for() -> None:
    code = (
        "import sys, flowstone.filesystems as f; print(*(name for name in sys.modules if name.startswith(f.__name__)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("flowstone.filesystems.") for name in out.stdout.split()}
    assert "local" in loaded
    assert not loaded & {"objects", "remote", "tiered"}
