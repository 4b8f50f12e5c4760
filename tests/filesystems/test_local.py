"""The folder as a storage: its names, its bad days, and what others may do to it."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstone.exceptions import ConfigurationError, KeyPathError, StoreError
from flowstone.filesystems import LocalFileSystem, leftovers, paths, resolve_storage, sweep
from flowstone.filesystems.base import Storage, SweepReport, WriteMode
from flowstone.locking.filesystem import FileSystemLockManager

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ChangeOs = Callable[..., None]
AsNobody = Callable[[Callable[[], None]], None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def storage(store: Path) -> LocalFileSystem:
    return LocalFileSystem(store)


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


# Links and other strange things.


def test_a_link_in_the_place_of_a_blob_is_not_followed(storage: LocalFileSystem, store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    storage.put("k", [b"x"])
    (store / "link").symlink_to(secret)
    for read in (storage.get, storage.stamp, lambda key: storage.head(key, 5)):
        with pytest.raises(StoreError, match="link"):
            read("link")
    assert keys(storage) == {"k"}
    storage.put("link", [b"mine"])
    assert secret.read_bytes() == b"secret"
    assert content(storage, "link") == b"mine"
    assert not (store / "link").is_symlink()


@pytest.mark.parametrize("descriptors", [True, False])
@pytest.mark.parametrize("depth", ["out", "f/out", "f/g/out"])
def test_a_link_in_the_place_of_a_folder_is_refused(
    storage: LocalFileSystem,
    store: Path,
    tmp_path: Path,
    depth: str,
    descriptors: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paths, "HAS_DIR_FD", descriptors)
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "k").write_bytes(b"secret")
    storage.put("k", [b"x"])
    (store / depth).parent.mkdir(parents=True, exist_ok=True)
    (store / depth).symlink_to(outside)
    for key in (f"{depth}/k", f"{depth}/deep/k", f"{depth}/new"):
        for act in (
            lambda key=key: storage.get(key),
            lambda key=key: storage.stamp(key),
            lambda key=key: storage.head(key, 4),
            lambda key=key: storage.put(key, [b"y"]),
            lambda key=key: storage.put(key, [b"y"], WriteMode.CREATE_ONLY),
            lambda key=key: storage.publish([("a", [b"y"]), (key, [b"y"])]),
            lambda key=key: storage.delete(key),
        ):
            with pytest.raises(StoreError, match="link"):
                act()
    assert {path.name for path in outside.iterdir()} == {"deep", "k"}
    assert (outside / "k").read_bytes() == b"secret"
    assert keys(storage) == {"k"}


@pytest.mark.parametrize("name", [".flowstone", ".flowstone/tmp"])
def test_a_link_in_the_place_of_our_own_folders_is_refused(store: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (outside / "tmp").mkdir(parents=True)
    (store / name).parent.mkdir(parents=True)
    (store / name).symlink_to(outside)
    with pytest.raises(StoreError, match="link"):
        LocalFileSystem(store).put("k", [b"x"])
    assert not any(path.is_file() for path in outside.rglob("*"))


def test_a_link_in_the_place_of_a_group_is_neither_read_nor_moved(storage: LocalFileSystem, store: Path) -> None:
    outside = store.parent / "outside"
    (outside / "f").mkdir(parents=True)
    (outside / "a").write_bytes(b"secret")
    storage.put("a", [b"x"])
    (store / ".flowstone" / "group").symlink_to(outside)
    for act in (
        lambda: storage.get("a"),
        lambda: storage.stamp("a"),
        lambda: storage.put("b", [b"y"]),
        lambda: storage.publish([("b", [b"y"]), ("c", [b"y"])]),
        lambda: storage.delete("a"),
        lambda: storage.sweep(),
        lambda: list(storage.scan()),
    ):
        with pytest.raises(StoreError):
            act()
    assert {path.name for path in outside.iterdir()} == {"a", "f"}


def test_keys_work_where_the_system_cannot_open_relative_to_a_folder(
    storage: LocalFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "HAS_DIR_FD", False)
    storage.put("f/g/k", [b"1"])
    storage.publish([("f/a", [b"2"]), ("b", [b"2"])])
    assert content(storage, "f/g/k") == b"1"
    assert storage.put("f/a", [b"3"], WriteMode.CREATE_ONLY) is None
    assert keys(storage) == {"f/g/k", "f/a", "b"}
    assert storage.delete("f/g/k") is True


def test_a_pipe_in_the_place_of_a_blob_makes_nobody_wait(storage: LocalFileSystem, store: Path) -> None:
    storage.put("k", [b"x"])
    os.mkfifo(store / "pipe")
    for read in (storage.get, storage.stamp, lambda key: storage.head(key, 5)):
        with pytest.raises(StoreError, match="not a regular file"):
            read("pipe")
    storage.touch("pipe")
    assert keys(storage) == {"k"}


def test_files_that_cannot_be_records_are_not_listed(storage: LocalFileSystem, store: Path) -> None:
    storage.put("k", [b"x"])
    (store / "trailing.").write_bytes(b"")
    (store / ".flowstone-other").write_bytes(b"")
    with open(os.fsencode(store) + b"/\xff", "wb"):
        pass
    assert keys(storage) == {"k"}


# The marker.


def test_the_first_write_marks_the_folder_as_a_store(storage: LocalFileSystem, store: Path) -> None:
    storage.put("k", [b"x"])
    assert (store / ".flowstone-store").read_text() == "flowstone store\nformat: 1\nnames: exact\n"


def test_a_store_of_a_newer_format_is_refused_and_left_alone(store: Path) -> None:
    LocalFileSystem(store).put("k", [b"x"])
    (store / ".flowstone-store").write_text("flowstone store\nformat: 2\nnames: exact\nmore: things\n")
    before = internal(store)
    for act in (
        lambda storage: storage.get("k"),
        lambda storage: storage.stamp("k"),
        lambda storage: storage.put("k", [b"y"]),
        lambda storage: storage.publish([("a", [b"y"]), ("b", [b"y"])]),
        lambda storage: storage.delete("k"),
        lambda storage: list(storage.scan()),
    ):
        with pytest.raises(StoreError, match=r"format 2.*newer flowstone"):
            act(LocalFileSystem(store))
    assert (store / "k").read_bytes() == b"x"
    assert internal(store) == before


@pytest.mark.parametrize("text", ["garbage", "flowstone store\n", "flowstone store\nformat: x\n", "\x80"])
def test_a_marker_that_is_none_is_refused(store: Path, text: str) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="not a marker"):
        LocalFileSystem(store).put("k", [b"x"])
    with pytest.raises(StoreError, match="not a marker"):
        LocalFileSystem(store).get("k")


def test_an_unknown_naming_is_refused(store: Path) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: reversed\n")
    with pytest.raises(StoreError, match="reversed"):
        LocalFileSystem(store).get("k")


@pytest.mark.parametrize("blank", [b"", b"\0" * 40])
def test_a_marker_lost_in_a_power_failure_is_made_anew(store: Path, blank: bytes) -> None:
    LocalFileSystem(store).put("k", [b"x"])
    (store / ".flowstone-store").write_bytes(blank)
    storage = LocalFileSystem(store)
    assert content(storage, "k") == b"x"
    storage.put("k", [b"y"])
    assert (store / ".flowstone-store").read_text().startswith("flowstone store\nformat: 1\n")


# A file system that takes `A` and `a`, and the two ways to write `é`, for one name.


def folded(path: object) -> object:
    if not isinstance(path, str):
        return path
    folder, slash, name = path.rpartition("/")
    if ".flowstone" in path and "-A" not in path and "-a" not in path:
        return path
    return f"{folder}{slash}{unicodedata.normalize('NFC', name).lower()}"


@pytest.fixture
def careless_disk(change_os: ChangeOs) -> None:
    """Fold the last part of every path, as such a file system would."""

    def folding(name: str) -> Callable[..., object]:
        real = getattr(os, name)
        return lambda *args, **kwargs: real(*map(folded, args), **kwargs)

    names = ("open", "stat", "lstat", "replace", "rename", "link", "unlink", "access")

    class Path:
        lexists = staticmethod(lambda path: os.path.lexists(folded(path)))  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(os.path, name)

    change_os(**{name: folding(name) for name in names}, path=Path())


@pytest.mark.usefixtures("careless_disk")
def test_on_a_file_system_that_ignores_case_names_are_written_so_that_none_collide(
    storage: LocalFileSystem, store: Path
) -> None:
    names = ["abc", "Abc", "ABC", "e\u0301", "\u00e9", "f/A", "F/a", "100%", "100%25"]
    for name in names:
        storage.put(name, [name.encode()])
    for name in names:
        assert content(storage, name) == name.encode()
    assert keys(storage) == set(names)
    assert "names: caseless" in (store / ".flowstone-store").read_text()
    assert (store / "%41bc").read_bytes() == b"Abc"
    assert (store / "abc").read_bytes() == b"abc", "what cannot collide keeps its name"
    storage.publish([("Abc", [b"1"]), ("aBc", [b"2"])])
    assert content(storage, "Abc") == b"1"
    assert content(storage, "abc") == b"abc"


def test_a_store_keeps_its_naming_on_whatever_disk_it_comes_to(store: Path) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: caseless\n")
    storage = LocalFileSystem(store)
    storage.put("Abc", [b"x"])
    assert (store / "%41bc").exists()
    assert content(LocalFileSystem(store), "Abc") == b"x"


def test_a_key_too_long_for_such_a_file_system_is_refused_with_a_reason(store: Path) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: caseless\n")
    with pytest.raises(StoreError, match="hash the key"):
        LocalFileSystem(store).put("A" * 200, [b"x"])


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
    from flowstone.filesystems import local

    monkeypatch.setattr(local, "_MOST_TOUCHED", 10)
    for number in range(100):
        storage.touch(f"k{number}")
    assert len(storage._touched) <= 10


# Bad days.


def faults(errno_: int, at: int) -> tuple[dict[str, object], list[str]]:
    """Functions of `os` of which the call number `at` fails, and the list of calls so far."""
    calls: list[str] = []

    def failing(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            calls.append(name)
            if len(calls) == at:
                raise OSError(errno_, os.strerror(errno_))
            return real(*args, **kwargs)

        return call

    names = ("open", "writev", "fstat", "rename", "replace", "link", "mkdir", "makedirs", "scandir", "read", "stat")
    return {name: failing(name) for name in names}, calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("act", ["put", "create", "nested", "publish"])
def test_a_write_that_fails_at_any_call_raises_a_store_error_and_changes_nothing(
    tmp_path: Path, change_os: ChangeOs, act: str, code: int
) -> None:
    writes: dict[str, Callable[[LocalFileSystem], object]] = {
        "put": lambda storage: storage.put("a", [b"new"]),
        "create": lambda storage: storage.put("c", [b"new"], WriteMode.CREATE_ONLY),
        "nested": lambda storage: storage.put("g/h/i", [b"new"]),
        "publish": lambda storage: storage.publish([("a", [b"new"]), ("f/b", [b"new"]), ("g/c", [b"new"])]),
    }
    failed = 0
    for at in range(1, 100):
        store = tmp_path / str(at)
        LocalFileSystem(store).publish([("a", [b"old"]), ("f/b", [b"old"])])
        storage = LocalFileSystem(store)
        changed, calls = faults(code, at)
        change_os(**changed)
        error = None
        try:
            writes[act](storage)
        except StoreError as caught:
            error = caught
        change_os()
        after = {entry.key: content(storage, entry.key) for entry in storage.scan()}
        if error is not None:
            failed += 1
            assert error.errno == code
            assert str(store) in str(error)
            assert after == {"a": b"old", "f/b": b"old"}, calls
        else:
            assert b"new" in after.values()
            assert b"old" not in after.values() or act != "publish", (
                "visible as a whole, though its files were not moved"
            )
        storage.sweep()
        storage.put("later", [b"x"])
        assert internal(store) == {"tmp"}, calls
        if len(calls) < at:
            break
    assert failed > 3


def test_a_full_disk_is_a_store_error_and_nothing_changed(small_disk: Path) -> None:
    storage = LocalFileSystem(small_disk / "store")
    storage.publish([("a", [b"old"]), ("b", [b"old"])])
    big = [b"x" * 700_000]
    storage.put("big", big)
    for write in (
        lambda: storage.put("a", big),
        lambda: storage.put("c", big, WriteMode.CREATE_ONLY),
        lambda: storage.publish([("a", [b"new"]), ("c", big)]),
    ):
        with pytest.raises(StoreError, match=r"No space left.*prune") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC
        assert {key: content(storage, key) for key in "abc"} == {"a": b"old", "b": b"old", "c": None}
        assert internal(small_disk / "store") == {"tmp"}
    assert storage.delete("big") is True
    storage.put("a", big)
    assert content(storage, "a") == big[0]


def test_a_store_that_cannot_be_made_leaves_nothing(store: Path, change_os: ChangeOs) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    change_os(write=write)
    with pytest.raises(StoreError, match="prune"):
        LocalFileSystem(store).put("k", [b"x"])
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_a_file_size_limit_is_a_store_error_and_nothing_changed(storage: LocalFileSystem, store: Path) -> None:
    storage.put("a", [b"old"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        for write in (
            lambda: storage.put("a", [b"x" * 200_000]),
            lambda: storage.publish([("a", [b"new"]), ("b", [b"x" * 200_000])]),
        ):
            with pytest.raises(StoreError, match="larger than the limit"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(storage, "a") == b"old"
    assert keys(storage) == {"a"}
    assert internal(store) == {"tmp"}


def test_a_store_nobody_may_write_to_can_be_read(public_folder: Path, as_nobody: AsNobody) -> None:
    store = public_folder / "store"
    owner = LocalFileSystem(store)
    owner.put("a", [b"data"])
    (store / ".flowstone" / "group" / "f").mkdir(parents=True)  # the group of a writer who died
    (store / ".flowstone" / "group" / "f" / "b").write_bytes(b"of the group")
    (store / ".flowstone" / "group" / "a").write_bytes(b"of the group")
    for folder in [store, *(path for path in store.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)

    def act() -> None:
        storage = LocalFileSystem(store)
        assert content(storage, "a") == b"of the group"
        assert content(storage, "f/b") == b"of the group"
        assert keys(storage) == {"a", "f/b"}
        storage.touch("a")
        for write in (
            lambda: storage.put("a", [b"x"]),
            lambda: storage.put("new", [b"x"], WriteMode.CREATE_ONLY),
            lambda: storage.publish([("a", [b"x"]), ("c", [b"x"])]),
            lambda: storage.delete("a"),
            lambda: storage.sweep(),
        ):
            with pytest.raises(StoreError, match=r"Permission denied.*Check who owns"):
                write()

    as_nobody(act)
    for folder in [store, *(path for path in store.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    assert LocalFileSystem(store).sweep().finished == 1
    assert content(owner, "a") == b"of the group"


def test_a_read_only_file_system_is_a_store_error(small_disk: Path) -> None:
    storage = LocalFileSystem(small_disk / "store")
    storage.put("a", [b"data"])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for each in (storage, LocalFileSystem(small_disk / "store")):
        assert content(each, "a") == b"data"
        with pytest.raises(StoreError, match="read-only"):
            each.put("a", [b"x"])


def test_a_blob_nobody_may_read_is_a_store_error(public_folder: Path, as_nobody: AsNobody) -> None:
    store = public_folder / "store"
    LocalFileSystem(store).put("a", [b"data"])
    LocalFileSystem(store).put("f/b", [b"data"])
    (store / "a").chmod(0o000)
    (store / "f").chmod(0o000)

    def act() -> None:
        storage = LocalFileSystem(store)
        for read in (storage.get, lambda key: storage.head(key, 1)):
            for key in ("a", "f/b"):
                with pytest.raises(StoreError, match="Permission denied"):
                    read(key)
        with pytest.raises(StoreError, match="Permission denied"):
            list(storage.scan())
        storage.touch("a")

    as_nobody(act)
    (store / "f").chmod(0o755)


def test_a_file_in_the_place_of_the_store_is_a_store_error(store: Path) -> None:
    store.write_text("not a folder")
    storage = LocalFileSystem(store)
    for act in (
        lambda: storage.get("k"),
        lambda: storage.get("f/k"),
        lambda: storage.stamp("k"),
        lambda: storage.put("k", [b"x"]),
        lambda: storage.publish([("a", [b"x"]), ("b", [b"x"])]),
        lambda: storage.delete("k"),
        lambda: list(storage.scan()),
    ):
        with pytest.raises(StoreError):
            act()
    assert store.read_text() == "not a folder"


def test_a_store_removed_under_way_is_empty_and_made_anew(storage: LocalFileSystem, store: Path) -> None:
    storage.publish([("a", [b"1"]), ("f/b", [b"1"])])
    shutil.rmtree(store)
    assert content(storage, "a") is None
    assert keys(storage) == set()
    storage.put("f/b", [b"2"])
    assert content(storage, "f/b") == b"2"
    assert (store / ".flowstone-store").exists()
    shutil.rmtree(store)
    storage.publish([("a", [b"3"]), ("f/b", [b"3"])])
    assert content(storage, "a") == content(storage, "f/b") == b"3"
    shutil.rmtree(store / ".flowstone")
    storage.put("a", [b"4"])
    shutil.rmtree(store / ".flowstone")
    storage.publish([("a", [b"5"]), ("f/b", [b"5"])])
    assert content(storage, "a") == content(storage, "f/b") == b"5"


def test_a_store_removed_between_two_calls_of_a_write_is_made_anew(
    storage: LocalFileSystem, store: Path, change_os: ChangeOs
) -> None:
    storage.put("a", [b"1"])
    removals = [1]

    def replace(*args: object, **kwargs: object) -> None:
        if removals:
            removals.pop()
            shutil.rmtree(store)
        os.replace(*args, **kwargs)  # type: ignore[arg-type]

    change_os(replace=replace)
    storage.put("a", [b"2"])
    assert content(storage, "a") == b"2"


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


def test_a_system_that_writes_and_reads_in_pieces_loses_nothing(storage: LocalFileSystem, change_os: ChangeOs) -> None:
    change_os(
        writev=lambda fd, views: os.write(fd, b"".join(views)[:7]),
        read=lambda fd, size: os.read(fd, min(size, 5)),
    )
    data = bytes(range(200))
    storage.put("k", [data[:50], b"", data[50:51], data[51:]])
    assert content(storage, "k") == data
    assert storage.head("k", 99) == data[:99]


def test_more_than_the_system_takes_in_one_call_is_written_in_several(
    storage: LocalFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowstone.filesystems import files

    monkeypatch.setattr(files, "_MOST_BYTES", 10)
    data = bytes(range(100))
    storage.put("k", [data[:3], data[3:60], data[60:]])
    assert content(storage, "k") == data


def test_a_system_without_mapping_reads_instead(storage: LocalFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowstone.filesystems import files

    def no_map(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENODEV, "no mapping here")

    data = os.urandom(2 << 20)
    storage.put("k", [data])
    monkeypatch.setattr(files.mmap, "mmap", no_map)
    assert content(storage, "k") == data


def test_a_large_blob_is_mapped_and_not_read(storage: LocalFileSystem, change_os: ChangeOs) -> None:
    storage.put("k", [b"x" * (2 << 20)])

    def read(fd: int, size: int) -> bytes:
        raise AssertionError("a large blob was read")

    change_os(read=read)
    blob = storage.get("k")
    assert blob is not None
    assert isinstance(blob.data, memoryview)
    assert not blob.data.readonly


def test_without_hard_links_one_creator_wins_too(storage: LocalFileSystem, change_os: ChangeOs) -> None:
    def link(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    change_os(link=link)
    for attempt in range(20):
        won = []
        start = threading.Barrier(4)

        def create(number: int, key: str, won: list[int] = won, start: threading.Barrier = start) -> None:
            start.wait()
            if storage.put(key, [b"%d" % number], WriteMode.CREATE_ONLY) is not None:
                won.append(number)

        threads = [threading.Thread(target=create, args=(number, f"f/k{attempt}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert content(storage, f"f/k{attempt}") == b"%d" % won[0]


# Leftovers.


def test_what_living_writers_are_writing_is_left_alone(
    storage: LocalFileSystem, store: Path, change_os: ChangeOs
) -> None:
    reports = []

    def writev(fd: int, views: list[memoryview]) -> int:
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
    pid, start, place, number = mine.split(".")
    dead = f"{pid}.{int(start) + 1}.{place}.{number}"
    elsewhere = f"{pid}.{int(start) + 1}.other{place}.{number}"
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


def test_a_path_a_url_and_the_storage_itself_name_the_same_place(store: Path) -> None:
    storage = LocalFileSystem(store)
    assert resolve_storage(storage) is storage
    for spec in (store, str(store), f"file://{store}", f"file://localhost{store}"):
        assert resolve_storage(spec).identity == storage.identity
