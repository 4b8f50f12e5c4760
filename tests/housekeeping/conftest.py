"""A store with shorthands to fill, break and look into it, over every kind of place that records can be in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowstone import housekeeping
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.filesystems.base import Buffer, Storage
from flowstone.filesystems.tiered import TieredFileSystem
from flowstone.housekeeping import RecordEntry
from flowstone.records import RecordInfo
from flowstone.results import Hit, ResultStore
from flowstone.signing import Keyring

NOW = 4_000_000_000.0  # later than any file that a test makes
DAY = 86400.0
RING = Keyring.from_text("ours")
THEIRS = Keyring.from_text("theirs")
BIG = b"\x01" * 20_000  # too large for one tag over head and payload


class House:
    """A result store and shorthands for it; `now` is the moment that every call speaks of."""

    now = NOW

    def __init__(self, storage: Storage, heads: Storage | None = None, **options: Any) -> None:
        self.storage = heads or storage
        self.payloads = storage
        options = {"keyring": RING, "cache_result_in_memory": False, **options}
        self.store = ResultStore(storage, heads, **options)

    def write(self, key: str = "k", value: object = "value", ring: Keyring = RING, **info: Any) -> None:
        store = self.store
        if ring is not RING:
            store = ResultStore(store.result_storage, store.metadata_storage, keyring=ring)
        info = {"created": NOW - DAY, **info}
        store.publish([store.stage(RecordInfo(key=key, **info), value)])

    def value(self, key: str = "k") -> Any:
        found = self.store.lookup(key, NOW)
        return found.value if isinstance(found, Hit) else None

    def entry(self, key: str = "k") -> RecordEntry:
        found = housekeeping.find(self.store, key, now=NOW)
        assert found is not None
        return found

    def entries(self, *args: Any) -> dict[str, RecordEntry]:
        return {entry.key: entry for entry in housekeeping.entries(self.store, *args, now=NOW)}

    def keys(self, *args: Any) -> set[str]:
        return set(self.entries(*args))

    def raw(self, key: str = "k") -> bytes:
        blob = self.storage.get(key)
        assert blob is not None
        return bytes(blob.data)

    def put_raw(self, parts: Sequence[Buffer] | bytes, key: str = "k") -> None:
        self.storage.put(key, [parts] if isinstance(parts, bytes) else parts)

    def flip(self, position: int, key: str = "k", mask: int = 0xFF) -> None:
        data = bytearray(self.raw(key))
        data[position] ^= mask
        self.put_raw(bytes(data), key)


@pytest.fixture
def make_house() -> type[House]:
    return House


@pytest.fixture
def local(tmp_path: Path) -> House:
    return House(LocalFileSystem(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the store `local`."""
    return tmp_path / "store"


@pytest.fixture
def memory() -> House:
    return House(MemoryFileSystem())


@pytest.fixture
def split(tmp_path: Path) -> House:
    """A store that keeps the heads of its records apart."""
    return House(LocalFileSystem(tmp_path / "payloads"), LocalFileSystem(tmp_path / "heads"))


@pytest.fixture
def tiered(tmp_path: Path) -> House:
    return House(TieredFileSystem(MemoryFileSystem(), LocalFileSystem(tmp_path / "slow")))


@pytest.fixture
def objects(lab: Callable[..., Storage]) -> House:
    return House(lab())


@pytest.fixture(params=["memory", "local", "split", "tiered", "objects"])
def house(request: pytest.FixtureRequest) -> House:
    """A store over each kind of place in turn."""
    found: House = request.getfixturevalue(request.param)
    return found
