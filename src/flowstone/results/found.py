"""What a look-up gives: a hit with its value, or a miss with its reason; and what is staged to be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flowstone.records import Buffer, Head, MissReason, RecordInfo, Sealed, open_head
from flowstone.results.public import ResultRecord, ResultRecordMetadata

if TYPE_CHECKING:
    from flowstone.results.core import RecordStore

NOT_LOADED: Final = object()
"""Stands for the value of a record whose head alone was read."""

Place = tuple[str, str]
"""The identity of a store and a key in it."""


class Hit:
    """A record that is there, fits its tag and is fresh.

    `value` is loaded and private to the caller if the look-up was asked to load.
    """

    __slots__ = ("_head", "_store", "value")

    found = True

    def __init__(self, store: RecordStore, head: Head, value: object) -> None:
        self._store = store
        self._head = head
        self.value = value

    @property
    def key(self) -> str:
        return self._head.key

    @property
    def info(self) -> RecordInfo:
        return self._head.info

    def was_written_by(self, author: bytes) -> bool:
        """Say whether the task that `records.author_of` names wrote this record; costs a comparison of bytes."""
        return self._head.was_written_by(author)

    def load(self, *, mmap: bool = False) -> object:
        """Read the value from the store, anew for each call; with `mmap` its arrays are read-only views of the file.

        Raises MissingResult if the record is gone, was replaced, or does not load.
        """
        return self._store.load(self._head, mmap=mmap)

    def as_result_record(self) -> ResultRecord[Any]:
        metadata = ResultRecordMetadata(self.info)
        return (
            ResultRecord(metadata, loader=self.load) if self.value is NOT_LOADED else ResultRecord(metadata, self.value)
        )

    def __repr__(self) -> str:
        return f"Hit({self._head.key!r})"


class Miss:
    """A look-up that gave nothing, and why; `info` is what the record said of itself where it could be trusted."""

    __slots__ = ("_head", "detail", "reason")

    found = False
    value: None = None

    def __init__(self, reason: MissReason, detail: str = "", head: Head | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self._head = head

    @property
    def info(self) -> RecordInfo | None:
        return None if self._head is None else self._head.info

    @property
    def expired_at(self) -> float | None:
        """When the record expired, in seconds since the epoch, if that is why."""
        return self._head.expiry if self._head is not None and self.reason is MissReason.EXPIRED else None

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value

    def __repr__(self) -> str:
        return f"Miss({self.reason.name}, {self.detail!r})"


class StagedRecord:
    """A snapshot of a value, sealed and ready to be written under its key."""

    __slots__ = ("_buffers", "_head", "_main", "key", "sealed", "store")

    def __init__(self, store: RecordStore, key: str, sealed: Sealed, main: Buffer, buffers: Sequence[Buffer]) -> None:
        self.store = store
        self.key = key
        self.sealed = sealed
        self._main = main
        self._buffers = buffers
        self._head: Head | None = None

    @property
    def place(self) -> Place:
        return self.store.identity, self.key

    @property
    def size(self) -> int:
        """How many bytes will be written."""
        return self.sealed.size

    @property
    def head(self) -> Head:
        """The head as readers will see it."""
        if self._head is None:
            self._head = open_head(self.sealed.head, self.key, self.store.keyring.reading)
        return self._head

    @property
    def info(self) -> RecordInfo:
        return self.head.info

    def parts(self) -> tuple[Sealed, bytes, list[bytes]]:
        """Return what another process makes this record of: with its store and key, the arguments of the class."""
        payload = [bytes(piece) for piece in self.sealed.payload]
        return self.sealed._replace(payload=payload), bytes(self._main), [bytes(buffer) for buffer in self._buffers]

    @property
    def value(self) -> object:
        """A value of the caller's own, like that of a hit; made anew each time."""
        return self.load()

    def load(self) -> object:
        """Return a value of the caller's own, made from the snapshot."""
        serializer = self.store.serializer_of(self.head)
        return serializer.load_parts(self._main, [bytearray(buffer) for buffer in self._buffers])

    def as_result_record(self) -> ResultRecord[Any]:
        return ResultRecord(ResultRecordMetadata(self.info), loader=self.load)

    def __repr__(self) -> str:
        return f"StagedRecord({self.key!r}, {self.size} bytes)"
