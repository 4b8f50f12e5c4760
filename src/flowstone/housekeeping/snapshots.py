"""Reading one version of a blob, quietly: what the tools look at does not count as used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from flowstone.records import JOINT_SIZE, bytes_to_open

if TYPE_CHECKING:
    from flowstone.filesystems.base import Entry, Storage

_PIECE = 1 << 20


class Beginning(NamedTuple):
    """As much of a blob as it takes to judge it, and the size of that very version if it is known."""

    data: bytes
    size: int | None


class Snapshot(ABC):
    """One version of a blob, which stays what it is while others replace or remove it. Close it, or use `with`."""

    size: int

    @abstractmethod
    def read(self, start: int, end: int) -> bytes | memoryview:
        """Return the bytes from `start` to `end`, fewer if it ends before; raises OSError."""

    def pieces(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes from `start` to `end` in pieces that fit into memory."""
        for position in range(start, end, _PIECE):
            yield self.read(position, min(position + _PIECE, end))

    def beginning(self) -> Beginning:
        """Return as much as it takes to judge it."""
        data = bytes(self.read(0, JOINT_SIZE))
        needed = bytes_to_open(data)
        if needed > len(data) == JOINT_SIZE:
            data = bytes(self.read(0, needed))
        return Beginning(data, self.size)

    def close(self) -> None:  # noqa: B027 - what is in memory needs no closing
        """Let go of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BytesSnapshot(Snapshot):
    """A blob in memory, or a view of one that is mapped."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._view = memoryview(data)
        self.size = self._view.nbytes

    def read(self, start: int, end: int) -> memoryview:
        return self._view[start:end]


class Reader(ABC):
    """How the tools read the blobs of one storage. Every method raises OSError, or StoreError, if it cannot."""

    @abstractmethod
    def begin(self, key: str) -> Beginning | None:
        """Return the beginning of the blob under `key`, or None."""

    @abstractmethod
    def open(self, key: str) -> Snapshot | None:
        """Open the blob under `key`, or return None."""

    @abstractmethod
    def listed(self, key: str) -> Entry | None:
        """Return what a listing would say of the blob under `key`, or None."""


class StorageReader(Reader):
    """Reads any storage through its contract."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def begin(self, key: str) -> Beginning | None:
        data = self.storage.head(key, JOINT_SIZE)
        if data is None:
            return None
        needed = bytes_to_open(data)
        if needed > len(data) == JOINT_SIZE:
            data = self.storage.head(key, needed) or b""
        return Beginning(data, None)

    def open(self, key: str) -> Snapshot | None:
        blob = self.storage.get(key)
        return None if blob is None else BytesSnapshot(blob.data)

    def listed(self, key: str) -> Entry | None:
        return next((entry for entry in self.storage.scan(key) if entry.key == key), None)
