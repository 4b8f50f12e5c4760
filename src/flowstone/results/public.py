"""The record as people know it: metadata and a result that is loaded when asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar, cast

from flowstone.records import RecordInfo

R = TypeVar("R")


class ResultRecordMetadata:
    """What a record says of itself, in the shape people know; `info` has everything."""

    __slots__ = ("info",)

    def __init__(self, info: RecordInfo) -> None:
        self.info = info

    @property
    def storage_key(self) -> str:
        return self.info.key

    @property
    def expiration(self) -> datetime | None:
        return None if self.info.expires is None else datetime.fromtimestamp(self.info.expires, UTC)

    @property
    def created(self) -> datetime:
        return datetime.fromtimestamp(self.info.created, UTC)

    @property
    def serializer(self) -> str:
        return self.info.serializer

    @property
    def flowstone_version(self) -> str:
        return self.info.flowstone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultRecordMetadata) and other.info == self.info

    def __hash__(self) -> int:
        return hash(self.info)

    def __repr__(self) -> str:
        return f"ResultRecordMetadata(storage_key={self.storage_key!r}, expiration={self.expiration!r})"


class ResultRecord(Generic[R]):
    """A stored result and its metadata; `result` is read from the store when first asked for, then kept."""

    __slots__ = ("_loader", "_result", "metadata")

    def __init__(
        self,
        metadata: ResultRecordMetadata,
        result: R | None = None,
        *,
        loader: Callable[[], object] | None = None,
    ) -> None:
        self.metadata = metadata
        self._result = result
        self._loader = loader

    @property
    def result(self) -> R:
        """Return the value; raises MissingResult if its record is gone."""
        if self._loader is not None:
            self._result = cast("R", self._loader())
            self._loader = None
        return cast("R", self._result)

    @property
    def expiration(self) -> datetime | None:
        return self.metadata.expiration

    def __repr__(self) -> str:
        return f"ResultRecord({self.metadata!r})"
