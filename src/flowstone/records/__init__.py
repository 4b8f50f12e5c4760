"""The record: one file that says what it is, and proves it.

`docs/record-format.md` describes it byte by byte. This package makes and opens records; it knows nothing of storages
and of serializers.
"""

from __future__ import annotations

from flowstone.records.container import (
    ALIGNMENT,
    FORMAT,
    JOINT_SIZE,
    MAGIC,
    PREFIX_SIZE,
    SPLIT,
    Buffer,
    Head,
)
from flowstone.records.info import MissReason, RecordInfo, author_of
from flowstone.records.opening import bytes_to_open, damaged, open_head, open_payload
from flowstone.records.sealing import Sealed, seal

__all__ = [
    "author_of",
    "ALIGNMENT",
    "FORMAT",
    "JOINT_SIZE",
    "MAGIC",
    "PREFIX_SIZE",
    "SPLIT",
    "Buffer",
    "Head",
    "MissReason",
    "RecordInfo",
    "Sealed",
    "bytes_to_open",
    "damaged",
    "open_head",
    "open_payload",
    "seal",
]
