"""Committed groups and leftovers: who finishes, who sweeps, and what is left alone."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem, leftovers, sweep
from flowstone.filesystems.base import Storage, SweepReport

ChangeOs = Callable[..., None]


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def keys(storage: Storage) -> set[str]:
    return {entry.key for entry in storage.scan()}


def internal(store: Path) -> set[str]:
    return {str(path.relative_to(store / ".flowstone")) for path in (store / ".flowstone").rglob("*")}


def test_a_full_disk_while_a_group_is_moved_leaves_it_visible_for_the_next_writer_to_finish(
    storage: LocalFileSystem, store: Path, change_os: ChangeOs
) -> None:
    storage.publish([("a", [b"old"]), ("f/b", [b"old"])])

    def replace(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    change_os(replace=replace)
    storage.publish([("a", [b"new"]), ("f/b", [b"new"])])
    for each in (storage, LocalFileSystem(store)):
        assert content(each, "a") == content(each, "f/b") == b"new"
        assert keys(each) == {"a", "f/b"}
    for write in (lambda: storage.put("a", [b"x"]), lambda: storage.delete("a"), lambda: storage.sweep()):
        with pytest.raises(StoreError):
            write()
    change_os()
    storage.put("c", [b"later"])
    assert internal(store) == {"tmp"}
    assert content(storage, "a") == b"new"


# Leftovers.


def test_what_living_writers_are_writing_is_left_alone(
    storage: LocalFileSystem, store: Path, change_os: ChangeOs
) -> None:
    reports = []
    writer = threading.current_thread()

    def writev(fd: int, views: list[memoryview]) -> int:
        if threading.current_thread() is writer:  # and not one that another test left behind
            reports.append(sweep(LocalFileSystem(store)))
        return os.writev(fd, views)

    change_os(writev=writev)
    storage.put("a", [b"1"])
    storage.publish([("a", [b"2"]), ("b", [b"2"])])
    assert [report.removed for report in reports] == [0, 0, 0]
    assert all(report.kept for report in reports)
    assert content(storage, "a") == content(storage, "b") == b"2"


def test_leftovers_of_the_dead_go_at_once_and_others_after_a_day(storage: LocalFileSystem, store: Path) -> None:
    storage.put("a", [b"1"])
    mine = leftovers.temp_name()
    pid, start, place, *rest = mine.split(".")
    dead = ".".join([pid, str(int(start) + 1), place, *rest])
    elsewhere = ".".join([pid, str(int(start) + 1), f"other{place}", *rest])
    temps = store / ".flowstone" / "tmp"
    for name in (mine, dead, elsewhere, "what is this"):
        (temps / name).write_bytes(b"x" * 10)
        new = store / ".flowstone" / f"new.{name}"
        (new / "f").mkdir(parents=True)
        (new / "f" / "k").write_bytes(b"x" * 5)
    assert sweep(storage) == SweepReport(removed=2, bytes=15, kept=6)
    assert not (temps / dead).exists()
    yesterday = time.time() - 90_000
    for name in (mine, elsewhere, "what is this"):
        os.utime(temps / name, (yesterday, yesterday))
        os.utime(store / ".flowstone" / f"new.{name}", (yesterday, yesterday))
    assert sweep(storage) == SweepReport(removed=6, bytes=45, kept=0)
    assert internal(store) == {"tmp"}


def test_sweeping_finishes_the_group_of_a_dead_writer_and_says_so(storage: LocalFileSystem, store: Path) -> None:
    storage.put("a", [b"old"])
    group = store / ".flowstone" / "group"
    (group / "f").mkdir(parents=True)
    (group / "a").write_bytes(b"new")
    (group / "f" / "b").write_bytes(b"new")
    assert sweep(storage) == SweepReport(finished=1)
    assert (store / "a").read_bytes() == (store / "f" / "b").read_bytes() == b"new"
    assert sweep(storage) == SweepReport()


def test_a_folder_made_in_the_way_of_a_committed_group_stays(storage: LocalFileSystem, store: Path) -> None:
    storage.put("a", [b"old"])
    group = store / ".flowstone" / "group"
    (group / "f").mkdir(parents=True)
    (group / "f" / "b").write_bytes(b"group")
    (group / "g").write_bytes(b"group")
    (group / "h").write_bytes(b"group")
    (store / "f").write_bytes(b"a file where the group has a folder")
    (store / "g").mkdir()
    (store / "g" / "k").write_bytes(b"later")
    storage.sweep()
    assert keys(storage) == {"a", "f", "g/k", "h"}
    assert content(storage, "h") == b"group"
    assert internal(store) == {"tmp"}
