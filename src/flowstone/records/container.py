"""The layout of a record; `docs/record-format.md` says it in words."""

from __future__ import annotations

import struct
from typing import Any, Final

from blake3 import blake3

from flowstone.hashing.threads import allowed
from flowstone.records.info import RecordInfo, read_info

Buffer = bytes | bytearray | memoryview

MAGIC: Final = b"\x89FLS\r\n\x1a\n"
FORMAT: Final = 1
ALIGNMENT: Final = 64
JOINT_SIZE: Final = 4096
"""A record of at most this many bytes is covered by one tag; of a larger one the tag covers the head alone."""

JOINT: Final = 1
"""Flag: the tag covers the payload too."""

SPLIT: Final = 2
"""Flag: the payload is elsewhere, under the same key."""

TAG_END: Final = 40
"""The tag covers everything that follows it."""

PREFIX: Final = struct.Struct("<8s32sHHHHIIddQQ8s32s32s")
PREFIX_SIZE: Final = PREFIX.size
FORMAT_FIELD: Final = struct.Struct("<H")
NEVER: Final = float("inf")
NO_DIGEST: Final = bytes(32)
_THREADS_FROM: Final = 1 << 20


class Head:
    """The opened and authenticated head of a record; what a hit does not need is worked out when asked for.

    `start` is where the payload begins, `main_size` the size of its main part, which `buffer_count` raw buffers may
    follow. `data` begins with the head; `text_at` and `table_at` are where in it the header and the sizes of the
    buffers are.
    """

    __slots__ = (
        "_data",
        "_fields",
        "_info",
        "_table_at",
        "_text_at",
        "buffer_count",
        "created",
        "expires",
        "flags",
        "key",
        "main_size",
        "serializer",
        "start",
        "total_size",
    )

    def __init__(
        self, key: str, data: bytes, fields: tuple[Any, ...], serializer: str, text_at: int, table_at: int, start: int
    ) -> None:
        self.key = key
        self.serializer = serializer
        self.start = start
        _, _, _, self.flags, _, _, _, self.buffer_count, self.created, self.expires, self.main_size, self.total_size = (
            fields[:12]
        )
        self._data = data
        self._fields = fields
        self._text_at = text_at
        self._table_at = table_at
        self._info: RecordInfo | None = None

    @property
    def tag(self) -> bytes:
        """The tag, which tells this record from every other."""
        tag: bytes = self._fields[1]
        return tag

    @property
    def joint(self) -> bool:
        """Whether the tag covers the payload too."""
        return bool(self.flags & JOINT)

    @property
    def split(self) -> bool:
        return bool(self.flags & SPLIT)

    @property
    def main_digest(self) -> bytes:
        found: bytes = self._fields[13]
        return found

    @property
    def buffers_digest(self) -> bytes:
        found: bytes = self._fields[14]
        return found

    @property
    def buffer_sizes(self) -> tuple[int, ...]:
        return struct.unpack_from(f"<{self.buffer_count}Q", self._data, self._table_at)

    @property
    def payload_size(self) -> int:
        size: int = self.total_size - self.start
        return size

    @property
    def expiry(self) -> float | None:
        """When the record expires, in seconds since the epoch, or None for never."""
        return None if self.expires == NEVER else self.expires

    @property
    def info(self) -> RecordInfo:
        if self._info is None:
            self._info = read_info(self._data[self._text_at : self._table_at], self._known())
        return self._info

    def was_written_by(self, author: bytes) -> bool:
        """Say whether the task that `author_of` names wrote this record, without reading the header as a whole."""
        return self._data.startswith(author, self._text_at)

    def _known(self) -> dict[str, object]:
        return {
            "key": self.key,
            "created": self.created,
            "expires": self.expiry,
            "serializer": self.serializer,
            "size": self.total_size,
            "payload_size": self.payload_size,
            "payload_digest": blake3(self.main_digest + self.buffers_digest).hexdigest(),
        }


def key_bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def digest(data: Buffer, size: int) -> bytes:
    """Digest `data` of `size` bytes; with several threads where that pays."""
    if size < _THREADS_FROM:
        return blake3(data).digest()
    return blake3(data, max_threads=allowed()).digest()


def size_of(data: Buffer) -> int:
    return data.nbytes if isinstance(data, memoryview) else len(data)
