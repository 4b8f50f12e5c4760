"""One file whole, whatever the system can do and cannot."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

import pytest

from flowstone.filesystems import LocalFileSystem, files
from flowstone.filesystems.base import Storage, WriteMode

ChangeOs = Callable[..., None]


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


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
    monkeypatch.setattr(files, "_MOST_BYTES", 10)
    data = bytes(range(100))
    storage.put("k", [data[:3], data[3:60], data[60:]])
    assert content(storage, "k") == data


def test_a_system_without_mapping_reads_instead(storage: LocalFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
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
