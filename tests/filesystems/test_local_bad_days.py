"""Full, read-only, forbidden, removed under way: an error that says what to do, and nothing changed."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem
from flowstone.filesystems.base import Storage, WriteMode

ChangeOs = Callable[..., None]
AsNobody = Callable[[Callable[[], None]], None]


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def keys(storage: Storage) -> set[str]:
    return {entry.key for entry in storage.scan()}


def internal(store: Path) -> set[str]:
    return {str(path.relative_to(store / ".flowstone")) for path in (store / ".flowstone").rglob("*")}


pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


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
