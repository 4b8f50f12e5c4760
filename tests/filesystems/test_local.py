"""The folder as a storage: names and files, stamps, last use."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from flowstone.exceptions import ConfigurationError, KeyPathError, StoreError
from flowstone.filesystems import LocalFileSystem, local, resolve_storage
from flowstone.filesystems.base import Storage, SweepReport, WriteMode
from flowstone.locking.filesystem import FileSystemLockManager


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def keys(storage: Storage) -> set[str]:
    return {entry.key for entry in storage.scan()}


def internal(store: Path) -> set[str]:
    return {str(path.relative_to(store / ".flowstone")) for path in (store / ".flowstone").rglob("*")}


# Names and places.


def test_the_file_is_named_exactly_as_the_key(storage: LocalFileSystem, store: Path) -> None:
    for key in ("0123abcd", "With Space.pkl", "folder/inside/é"):
        storage.put(key, [b"data"])
        assert (store / key).read_bytes() == b"data"


def test_a_file_that_lies_there_is_a_blob(storage: LocalFileSystem, store: Path) -> None:
    (store / "folder").mkdir(parents=True)
    (store / "folder" / "k").write_bytes(b"copied here")
    assert content(storage, "folder/k") == b"copied here"
    assert keys(storage) == {"folder/k"}


def test_making_a_storage_touches_nothing_and_neither_does_reading(storage: LocalFileSystem, store: Path) -> None:
    assert content(storage, "k") is None
    assert keys(storage) == set()
    assert storage.delete("k") is False
    assert storage.sweep() == SweepReport()
    assert not store.exists()


def test_a_key_that_is_refused_makes_no_store(storage: LocalFileSystem, store: Path) -> None:
    for write in (lambda: storage.put("../k", [b"x"]), lambda: storage.publish([("k", [b"x"]), ("../k", [b"x"])])):
        with pytest.raises(KeyPathError):
            write()
    assert not store.exists()


def test_the_base_path_is_absolute_whatever_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert LocalFileSystem("x").basepath == str(tmp_path / "x")
    assert LocalFileSystem(Path("x/../y")).basepath == str(tmp_path / "y")
    assert LocalFileSystem("~/z").basepath == str(tmp_path / "home" / "z")
    assert LocalFileSystem().basepath == str(tmp_path)
    assert LocalFileSystem("x").identity == LocalFileSystem(tmp_path / "x").identity == f"file://{tmp_path}/x"


def test_one_place_by_two_names_has_one_identity(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert LocalFileSystem(tmp_path / "link").identity == LocalFileSystem(tmp_path / "real").identity


def test_a_durability_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'fast' or 'safe'"):
        LocalFileSystem(tmp_path, durability="forever")


def test_new_files_have_the_permissions_the_user_wants(storage: LocalFileSystem, store: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.put("k", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((store / "k").stat().st_mode) == 0o640


def test_paths_are_read_and_written_as_people_know_it(storage: LocalFileSystem, store: Path) -> None:
    storage.write_path("folder/file", b"content")
    assert storage.read_path("folder/file") == b"content"
    assert storage.read_path(store / "folder" / "file") == b"content"
    storage.write_path(Path("other"), b"more")
    assert (store / "other").read_bytes() == b"more"
    with pytest.raises(StoreError, match="nothing at 'missing'"):
        storage.read_path("missing")
    for path in ("../outside", store.parent / "outside", "/etc/passwd"):
        with pytest.raises(KeyPathError):
            storage.write_path(path, b"x")


def test_the_natural_locks_are_in_the_store_and_shared_by_all_its_objects(store: Path) -> None:
    one, other = LocalFileSystem(store).natural_lock_manager(), LocalFileSystem(store).natural_lock_manager()
    assert isinstance(one, FileSystemLockManager)
    assert one.acquire_lock("k", "me")
    assert not other.acquire_lock("k", "you", acquire_timeout=0.01)
    one.release_lock("k", "me")
    assert (store / ".flowstone" / "locks").is_dir()


# A key is a file or a folder.


def test_a_key_cannot_be_a_record_and_the_folder_of_others(storage: LocalFileSystem) -> None:
    storage.put("a", [b"x"])
    storage.put("f/g", [b"x"])
    for key in ("a/b", "f"):
        for write in (
            lambda key=key: storage.put(key, [b"y"]),
            lambda key=key: storage.put(key, [b"y"], WriteMode.CREATE_ONLY),
            lambda key=key: storage.publish([("new", [b"y"]), (key, [b"y"])]),
        ):
            with pytest.raises(StoreError):
                write()
        assert storage.get(key) is None
        assert storage.stamp(key) is None
        assert storage.head(key, 1) is None
        assert storage.delete(key) is False
    assert keys(storage) == {"a", "f/g"}


def test_a_group_that_contradicts_itself_changes_nothing(storage: LocalFileSystem, store: Path) -> None:
    with pytest.raises(StoreError):
        storage.publish([("x", [b"1"]), ("x/y", [b"2"])])
    assert keys(storage) == set()
    assert internal(store) == {"tmp"}


def test_empty_folders_go_with_their_last_blob(storage: LocalFileSystem, store: Path) -> None:
    storage.put("f/g/h", [b"x"])
    storage.put("f/other", [b"x"])
    storage.delete("f/g/h")
    assert not (store / "f" / "g").exists()
    storage.delete("f/other")
    assert not (store / "f").exists()
    storage.put("f", [b"now a record"])
    assert content(storage, "f") == b"now a record"


# Stamps.


def test_on_a_coarse_clock_young_stamps_equal_none_and_old_ones_tell_versions_apart(
    storage: LocalFileSystem, store: Path
) -> None:
    storage.put("k", [b"x"])
    now = time.time_ns() // 1_000_000_000 * 1_000_000_000
    os.utime(store / "k", ns=(now, now))
    assert storage.stamp("k") != storage.stamp("k")
    old = now - 10_000_000_000
    os.utime(store / "k", ns=(old, old))
    assert storage.stamp("k") == storage.stamp("k")


def test_every_write_has_a_time_of_its_own_and_the_right_one(storage: LocalFileSystem, store: Path) -> None:
    times = set()
    for _ in range(100):
        before = time.time_ns()
        storage.put("k", [b"x"])
        times.add((store / "k").stat().st_mtime_ns)
        assert before <= max(times) <= time.time_ns()
    assert len(times) == 100


# Last use.


def test_a_use_is_noted_at_most_once_in_an_hour(storage: LocalFileSystem, store: Path) -> None:
    storage.put("k", [b"x"])
    stamp = storage.stamp("k")
    status = (store / "k").stat()
    long_ago = 1_000_000_000 * 10**9
    os.utime(store / "k", ns=(long_ago, status.st_mtime_ns))
    storage.touch("k")
    assert abs((store / "k").stat().st_atime - time.time()) < 60
    assert storage.stamp("k") == stamp
    entry = next(iter(storage.scan()))
    assert abs(entry.used - time.time()) < 60
    os.utime(store / "k", ns=(long_ago, status.st_mtime_ns))
    storage.touch("k")
    assert (store / "k").stat().st_atime_ns == long_ago, "this process noted it already"
    LocalFileSystem(store).touch("k")
    assert (store / "k").stat().st_atime_ns != long_ago


def test_what_is_remembered_of_uses_is_bounded(storage: LocalFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_MOST_TOUCHED", 10)
    for number in range(100):
        storage.touch(f"k{number}")
    assert len(storage._touched) <= 10


def test_a_path_a_url_and_the_storage_itself_name_the_same_place(store: Path) -> None:
    storage = LocalFileSystem(store)
    assert resolve_storage(storage) is storage
    for spec in (store, str(store), f"file://{store}", f"file://localhost{store}"):
        assert resolve_storage(spec).identity == storage.identity
