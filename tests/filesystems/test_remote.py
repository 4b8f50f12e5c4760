"""What fsspec reaches: any scheme, any adapter, any error."""

from __future__ import annotations

import importlib
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowstone.exceptions import ConfigurationError, StoreError
from flowstone.filesystems.base import SweepReport
from flowstone.filesystems.remote import RemoteFileSystem

pytest.importorskip("fsspec")


@pytest.fixture
def local(tmp_path: Path) -> RemoteFileSystem:
    return RemoteFileSystem(f"file://{tmp_path}/store")


def data_of(storage: RemoteFileSystem, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


class Wrapped:
    """A file system with some of its methods replaced."""

    def __init__(self, system: object, **methods: Callable[..., object]) -> None:
        self._system = system
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> object:
        return getattr(self._system, name)


def wrap(storage: RemoteFileSystem, **methods: Callable[..., object]) -> None:
    system, root = storage._connect()
    wrapped = (Wrapped(system, **methods), root)
    storage._connection = None
    storage._connect = lambda: wrapped  # type: ignore[method-assign, assignment, return-value]


# --- a real server


def test_records_live_on_an_sftp_server_under_the_names_of_their_keys(sftp_server: SimpleNamespace) -> None:
    storage = RemoteFileSystem(sftp_server.url, settings=sftp_server.settings)
    storage.put("folder/k", [b"one ", memoryview(b"two")])
    assert (sftp_server.folder / "store" / "folder" / "k").read_bytes() == b"one two"
    other = pickle.loads(pickle.dumps(storage))
    assert data_of(other, "folder/k") == b"one two"
    assert other.head("folder/k", 3) == b"one"
    assert other.stamp("folder/k") == storage.stamp("folder/k")
    other.put("folder/k", [b"three"])
    assert data_of(storage, "folder/k") == b"three"
    assert {(entry.key, entry.size) for entry in storage.scan()} == {("folder/k", 5)}
    assert storage.put("folder/k", [b"x"], "create-only") is None
    assert storage.delete("folder/k") is True
    assert storage.delete("folder/k") is False
    assert data_of(storage, "folder/k") is None
    assert list(storage.scan()) == []
    assert storage.sweep(older_than=0.0) == SweepReport()


def test_a_reader_over_sftp_sees_whole_files_while_they_are_replaced(sftp_server: SimpleNamespace) -> None:
    writer, reader = (RemoteFileSystem(sftp_server.url, settings=sftp_server.settings) for _ in range(2))
    values = [bytes([number]) * 300_000 for number in range(4)]
    writer.put("k", [values[0]])
    over = threading.Event()

    def write() -> None:
        for turn in range(6):
            writer.put("k", [values[turn % 4]])
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not over.is_set():
        assert data_of(reader, "k") in values
    thread.join()


def test_wrong_credentials_are_an_error_that_does_not_show_them(sftp_server: SimpleNamespace) -> None:
    storage = RemoteFileSystem(sftp_server.url, settings={**sftp_server.settings, "password": "hunter2"})
    with pytest.raises(StoreError, match="Authentication") as caught:
        storage.get("k")
    assert "hunter2" not in str(caught.value) + repr(storage) + storage.identity


def test_a_connection_that_was_cut_is_made_anew(sftp_server: SimpleNamespace) -> None:
    storage = RemoteFileSystem(sftp_server.url, settings=sftp_server.settings)
    storage.put("k", [b"1"])
    sftp_server.cut()
    assert data_of(storage, "k") == b"1"
    sftp_server.cut()
    storage.put("k", [b"2"])
    assert data_of(storage, "k") == b"2"


def test_a_server_that_is_gone_is_an_error(sftp_server: SimpleNamespace) -> None:
    storage = RemoteFileSystem(sftp_server.url, settings=sftp_server.settings)
    storage.put("k", [b"1"])
    sftp_server.close()
    for _ in range(2):
        with pytest.raises(StoreError):
            storage.get("k")


# --- addresses


@pytest.mark.parametrize("basepath", ["", "folder", "/folder", "memory", "://x", "a:b"])
def test_what_is_no_url_is_refused_at_once(basepath: str) -> None:
    with pytest.raises(ConfigurationError, match="names no file system"):
        RemoteFileSystem(basepath)


def test_a_scheme_nobody_knows_is_named() -> None:
    with pytest.raises(ConfigurationError, match="nosuch"):
        RemoteFileSystem("nosuch://place").get("k")


def test_an_adapter_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.import_module("fsspec.registry").known_implementations
    monkeypatch.setitem(known, "odd", {"class": "no_such_package.Odd", "err": "Install oddfs"})
    with pytest.raises(ConfigurationError, match="Install oddfs"):
        RemoteFileSystem("odd://place").get("k")


def test_without_fsspec_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowstone.filesystems.remote.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"flowstone\[fsspec\]"):
        RemoteFileSystem("sftp://host/folder")


def test_passwords_are_not_part_of_the_name_of_a_place() -> None:
    storage = RemoteFileSystem("sftp://me:hunter2@host/folder/", settings={"password": "hunter3", "port": 22})
    assert "hunter" not in repr(storage) + storage.identity
    assert storage.identity.startswith("sftp://me@host/folder?settings=")
    same = RemoteFileSystem("sftp://me:other@host/folder", settings={"port": 22, "password": "another"})
    assert same.identity == storage.identity
    assert RemoteFileSystem("sftp://me@host/folder", settings={"port": 23}).identity != storage.identity


def test_settings_reach_the_adapter(tmp_path: Path) -> None:
    storage = RemoteFileSystem(f"file://{tmp_path}", settings={"auto_mkdir": True})
    assert storage._connect()[0].auto_mkdir is True  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=r"cannot be used|Cannot reach"):
        RemoteFileSystem("zip://x.zip", settings={"fo": "/nowhere/x.zip"}).get("k")


def test_paths_can_be_read_and_written_by_their_familiar_names(local: RemoteFileSystem) -> None:
    local.write_path("a/b", b"content")
    assert local.read_path("a/b") == b"content"
    with pytest.raises(StoreError, match="nothing at 'x'"):
        local.read_path("x")


# --- promises and their limits


def test_nothing_is_promised_that_cannot_be_kept(local: RemoteFileSystem) -> None:
    assert local.coordinates is False
    assert local.atomic_groups is False
    assert local.natural_lock_manager() is None


def test_whatever_an_adapter_raises_is_a_store_error(local: RemoteFileSystem) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ZeroDivisionError("the adapter's own")

    local.put("k", [b"x"])
    wrap(local, cat_file=fail, info=fail, pipe_file=fail, ls=fail)
    for act in (
        lambda: local.get("k"),
        lambda: local.stamp("k"),
        lambda: local.head("k", 3),
        lambda: local.put("k", [b"x"]),
        lambda: local.delete("k"),
        lambda: list(local.scan()),
    ):
        with pytest.raises(StoreError, match="ZeroDivisionError: the adapter's own"):
            act()


def test_a_write_that_fails_half_way_leaves_what_was_there_and_nothing_else(local: RemoteFileSystem) -> None:
    local.put("k", [b"old"])
    system, _ = local._connect()

    def half(path: str, value: bytes) -> None:
        system.pipe_file(path, value[: len(value) // 2])
        raise OSError("the disk is full")

    wrap(local, pipe_file=half)
    with pytest.raises(StoreError, match="disk is full"):
        local.put("k", [b"new value"])
    assert data_of(local, "k") == b"old"
    assert local.sweep(older_than=0.0) == SweepReport()


def test_a_system_that_does_not_rename_onto_a_file_is_helped(local: RemoteFileSystem) -> None:
    system, _ = local._connect()

    def move(path1: str, path2: str) -> None:
        if system.info(path1) and Path(path2).exists():
            raise FileExistsError(path2)
        system.mv(path1, path2)

    wrap(local, mv=move)
    local.put("k", [b"old"])
    local.put("k", [b"new"])
    assert data_of(local, "k") == b"new"


def test_what_writers_died_over_is_swept_when_it_is_old(local: RemoteFileSystem) -> None:
    local.put("k", [b"x"])
    system, root = local._connect()
    system.pipe_file(f"{root}/.flowstone/tmp/left", b"12345")
    assert local.sweep() == SweepReport(kept=1)
    assert local.sweep(older_than=0.0) == SweepReport(removed=1, bytes=5)
    assert [entry.key for entry in local.scan()] == ["k"]


def test_a_key_under_a_file_is_missing_and_cannot_be_written(local: RemoteFileSystem) -> None:
    local.put("a", [b"x"])
    assert local.get("a/b") is None
    assert local.stamp("a/b") is None
    assert local.delete("a/b") is False
    with pytest.raises(StoreError):
        local.put("a/b", [b"x"])
