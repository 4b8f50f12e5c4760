"""The keeper works with stores that cannot lock, that fail at every turn, and on file systems of every kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowstone import housekeeping
from flowstone.exceptions import ConfigurationError, LockError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.housekeeping import EVERYTHING, Fate, FaultKind, Outcome, RecordState
from flowstone.housekeeping.folder import Folder
from flowstone.housekeeping.keyfile import find_fault_of_key_file
from flowstone.locking.memory import MemoryLockManager

House = Any
NOW = 4_000_000_000.0
LARGE = b"\x01" * 3_000_000


class Unlocked(MemoryFileSystem):
    def natural_lock_manager(self) -> None:  # type: ignore[override]
        return None


class Troubled(MemoryLockManager):
    """A lock manager of which one method raises."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__()
        self.method = method
        self.error = error

    def acquire_lock(self, *arguments: Any) -> bool:  # type: ignore[override]
        if self.method == "acquire":
            raise self.error
        return super().acquire_lock(*arguments)

    def release_lock(self, key: str, holder: str) -> None:
        super().release_lock(key, holder)
        if self.method == "release":
            raise self.error


def prune(house: House) -> Outcome:
    (removal,) = housekeeping.prune(house.store, older_than=0, now=NOW).removals
    return removal.outcome


def test_where_nobody_can_lock_nobody_has_locked(make_house: type[House]) -> None:
    house = make_house(Unlocked())
    house.write()
    assert prune(house) is Outcome.REMOVED


def test_a_lock_manager_that_cannot_work_here_locks_nobody_out(make_house: type[House]) -> None:
    house = make_house(MemoryFileSystem(), lock_manager=Troubled("acquire", ConfigurationError("no leases here")))
    house.write()
    assert prune(house) is Outcome.REMOVED


def test_while_the_locks_cannot_be_asked_nothing_is_removed_or_written(make_house: type[House], tmp_path: Path) -> None:
    house = make_house(MemoryFileSystem(), lock_manager=Troubled("acquire", LockError("the server is away")))
    other = make_house(MemoryFileSystem())
    house.write()
    other.write("k2")
    housekeeping.export(other.store, EVERYTHING, tmp_path / "a.tar")

    for together in (False, True):
        (imported,) = housekeeping.import_(house.store, tmp_path / "a.tar", together=together).imports
        assert (imported.fate, imported.detail) == (Fate.IN_USE, "the server is away")
    assert prune(house) is Outcome.FAILED
    assert house.keys() == {"k"}


def test_a_lock_that_was_lost_meanwhile_is_no_failure(make_house: type[House]) -> None:
    house = make_house(MemoryFileSystem(), lock_manager=Troubled("release", LockError("lost")))
    house.write()
    assert prune(house) is Outcome.REMOVED


@pytest.fixture
def rotten(local: House, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make reading fail from a position on, for the tools alone."""

    def rot(position: int) -> None:
        def read(fd: int, size: int, at: int) -> bytes:
            if at + size > position:
                raise OSError(5, "Input/output error")
            return os.pread(fd, size, at)

        monkeypatch.setattr("flowstone.housekeeping.folder._read_at", read)

    return rot


def test_a_payload_that_cannot_be_read_is_told_kept_and_left_out(
    local: House, rotten: Callable[[int], None], tmp_path: Path
) -> None:
    local.write(value=LARGE)
    rotten(1_000_000)
    report = housekeeping.check(local.store, repair=True, now=NOW)

    assert [fault.kind for fault in report.faults] == [FaultKind.UNREADABLE]
    assert local.keys() == {"k"}
    ((key, why),) = housekeeping.export(local.store, EVERYTHING, tmp_path / "a.tar").left_out
    assert key == "k"
    assert "Input/output error" in why


def test_a_record_that_cannot_be_read_is_not_taken_for_damaged_by_an_import(
    local: House, make_house: type[House], rotten: Callable[[int], None], tmp_path: Path
) -> None:
    other = make_house(MemoryFileSystem())
    other.write(value=LARGE, created=NOW - 9)
    housekeeping.export(other.store, EVERYTHING, tmp_path / "a.tar")
    local.write(value=LARGE, created=NOW)
    rotten(1_000_000)

    assert [each.fate for each in housekeeping.import_(local.store, tmp_path / "a.tar").imports] == [Fate.KEPT]


def test_a_head_that_cannot_be_read_is_listed_and_never_repaired_away(
    local: House, rotten: Callable[[int], None]
) -> None:
    local.write()
    rotten(0)

    assert local.entry().state is RecordState.UNREADABLE
    assert not housekeeping.check(local.store, repair=True, now=NOW).ok
    assert (Path(local.storage.basepath) / "k").exists()


def test_a_read_that_the_system_cuts_short_goes_on(local: House, monkeypatch: pytest.MonkeyPatch) -> None:
    local.write(value=LARGE)
    monkeypatch.setattr(
        "flowstone.housekeeping.folder._read_at", lambda fd, size, at: os.pread(fd, min(size, 700_001), at)
    )
    assert housekeeping.check(local.store, now=NOW).clean


def test_a_file_cut_short_while_it_is_read_is_damaged_and_no_crash(
    local: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.write(value=LARGE)

    def read(fd: int, size: int, at: int) -> bytes:
        os.truncate(folder / "k", 100_000)
        return os.pread(fd, size, at)

    monkeypatch.setattr("flowstone.housekeeping.folder._read_at", read)
    assert [fault.kind for fault in housekeeping.check(local.store, now=NOW).faults] == [FaultKind.DAMAGED]


def test_keys_are_found_on_file_systems_that_ignore_case(make_house: type[House], tmp_path: Path) -> None:
    (tmp_path / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: caseless\n")
    house = make_house(LocalFileSystem(tmp_path))
    for key in ("Aa", "aA", "ü/B"):
        house.write(key, key)
    (tmp_path / "NOT-OURS").write_text("dear")

    assert {"Aa", "aA", "ü/B"} <= house.keys()
    assert house.entry("aA").ours
    assert Path(Folder(house.storage).file_of("Aa")).name == "%41a"
    strays = [fault.where for fault in housekeeping.check(house.store, now=NOW).faults]
    assert strays == [str(tmp_path / "NOT-OURS")]
    assert housekeeping.prune(house.store, older_than=0, now=NOW).removed == 3


def test_the_file_of_a_key_is_where_it_is_read_from(local: House, folder: Path) -> None:
    local.write("a/b")
    assert Folder(local.storage).file_of("a/b") == str(folder / "a" / "b")
    group = folder / ".flowstone" / "group" / "a"
    group.mkdir(parents=True)
    (folder / "a" / "b").rename(group / "b")
    assert Folder(local.storage).file_of("a/b") == str(group / "b")


def test_a_key_file_that_is_none_is_told(tmp_path: Path) -> None:
    assert find_fault_of_key_file(str(tmp_path)) == "it is not a regular file"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.key"
    path.write_text("ab" * 32)
    path.chmod(0o600)
    return path


@pytest.mark.skipif(os.name == "nt", reason="owners say nothing there")
def test_a_key_file_of_another_user_is_told(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_fault_of_key_file(str(key_file)) == ""
    status = list(key_file.stat())
    status[4] = 12345
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result(status))
    assert find_fault_of_key_file(str(key_file)) == "it belongs to another user"


def test_a_key_file_that_cannot_be_read_is_told(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert find_fault_of_key_file(str(key_file)) == "it cannot be read: Permission denied"
