"""A module `os` that does as it is told, and file systems that are full, read-only or somebody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstone.filesystems import LocalFileSystem, files, groups, leftovers, local, marker, paths

NOBODY = 65534


class ChangedOs:
    """The module `os` with some of its functions replaced."""

    def __init__(self, **changed: object) -> None:
        self.__dict__.update(changed)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "store"


@pytest.fixture
def storage(store: Path) -> LocalFileSystem:
    return LocalFileSystem(store)


@pytest.fixture
def change_os(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace functions of `os` for the local storage and nobody else."""

    def change(**changed: object) -> None:
        for module in (files, groups, leftovers, local, marker, paths):
            monkeypatch.setattr(module, "os", ChangedOs(**changed))

    return change


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    made = os.geteuid() == 0 and shutil.which("mount")
    if not made or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]).returncode:
        if os.environ.get("CI") == "true":
            pytest.fail("a small disk needs root and mount")
        pytest.skip("a small disk needs root and mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder which other users can reach, where pytest's own cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="flowstone-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], None]], None]:
    """Run a function in a child as a user whom permissions bind; its assertions count."""

    def run(act: Callable[[], None]) -> None:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                act()
                code = 0
            except BaseException as error:
                print(f"as nobody: {type(error).__name__}: {error}", flush=True)
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return run
