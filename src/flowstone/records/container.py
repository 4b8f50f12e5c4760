"""The layout of a record; `docs/record-format.md` says it in words."""

from __future__ import annotations

import struct
from typing import Final

from blake3 import blake3

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
    """The opened and authenticated head of a record; `info` reads the rest of it when asked.

    `start` is where the payload begins, `main_size` the size of its main part, which raw buffers may follow.
    `total_size` is the size of head and payload together.
    """

    __slots__ = (
        "_info",
        "_json",
        "buffer_sizes",
        "buffers_digest",
        "created",
        "expires",
        "joint",
        "key",
        "main_digest",
        "main_size",
        "serializer",
        "split",
        "start",
        "tag",
        "total_size",
    )

    key: str
    created: float
    expires: float
    serializer: str
    joint: bool
    split: bool
    start: int
    main_size: int
    total_size: int
    buffer_sizes: tuple[int, ...]
    main_digest: bytes
    buffers_digest: bytes
    tag: bytes
    _json: bytes
    _info: RecordInfo | None

    @property
    def info(self) -> RecordInfo:
        if self._info is None:
            self._info = read_info(self._json, self._known())
        return self._info

    @property
    def expiry(self) -> float | None:
        """When the record expires, in seconds since the epoch, or None for never."""
        return None if self.expires == NEVER else self.expires

    @property
    def payload_size(self) -> int:
        return self.total_size - self.start

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
    return blake3(data, max_threads=blake3.AUTO).digest()


def size_of(data: Buffer) -> int:
    return data.nbytes if isinstance(data, memoryview) else len(data)
