from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode
from flowstone.records import RecordInfo
from flowstone.results import Hit, Miss, ResultStore
from flowstone.signing import Keyring

NOW = 1_000_000.0
RING = Keyring.from_text("test")


class Bench:
    """A store and shorthands to write and find with it at a fixed moment."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        self.storage = storage
        self.store = ResultStore(storage, **{"keyring": RING, **options})

    def write(self, value: object, key: str = "k", store: ResultStore | None = None, **info: Any) -> None:
        store = store or self.store
        store.publish([store.stage(RecordInfo(key=key, created=info.pop("created", NOW), **info), value)])

    def find(self, key: str = "k", now: float = NOW, **options: Any) -> Hit | Miss:
        return self.store.lookup(key, now, **options)

    def value(self, key: str = "k") -> Any:
        found = self.find(key)
        assert isinstance(found, Hit), found
        return found.value

    def other(self, **options: Any) -> Bench:
        """A second store over the same storage, as another process would have."""
        return Bench(self.storage, **options)


class Troubled(Storage):
    """A storage of which every call raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error or StoreError("the disk is on fire")

    @property
    def identity(self) -> str:
        return "troubled://"

    def _raise(self) -> Any:
        raise self.error

    def get(self, key: str) -> Blob | None:
        return self._raise()

    def stamp(self, key: str) -> Stamp | None:
        return self._raise()

    def head(self, key: str, size: int) -> bytes | None:
        return self._raise()

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        return self._raise()

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        self._raise()

    def delete(self, key: str) -> bool:
        return self._raise()

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        return self._raise()


@pytest.fixture(params=["memory", "local"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A store with a memory layer over each kind of storage."""
    return Bench(MemoryFileSystem() if request.param == "memory" else LocalFileSystem(tmp_path / "store"))


@pytest.fixture
def local(tmp_path: Path) -> Bench:
    return Bench(LocalFileSystem(tmp_path / "store"))


@pytest.fixture
def make_bench() -> type[Bench]:
    return Bench


@pytest.fixture
def troubled() -> type[Troubled]:
    return Troubled


@pytest.fixture
def together() -> Callable[[int, Callable[[int], object]], list[object]]:
    """Run a function on n threads that start at once; gives what they returned, raises what one raised."""

    def run(n: int, work: Callable[[int], object]) -> list[object]:
        barrier = threading.Barrier(n)
        outcomes: list[object] = [None] * n

        def body(index: int) -> None:
            barrier.wait()
            try:
                outcomes[index] = work(index)
            except BaseException as error:
                outcomes[index] = error

        threads = [threading.Thread(target=body, args=(index,)) for index in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes

    return run
