"""Links, pipes and folders in the place of blobs: a store follows none and waits for none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem, paths
from flowstone.filesystems.base import Storage, WriteMode


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def keys(storage: Storage) -> set[str]:
    return {entry.key for entry in storage.scan()}


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
