"""Telling what the bytes under a key are, without believing them: from the head, and from the whole."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from blake3 import blake3

from flowstone.exceptions import RecordError
from flowstone.housekeeping.entry import RecordState
from flowstone.records import ALIGNMENT, FORMAT, MAGIC, PREFIX_SIZE, Head, open_head
from flowstone.records.container import FORMAT_FIELD, NO_DIGEST, PREFIX, TAG_END

if TYPE_CHECKING:
    from flowstone.housekeeping.snapshots import Snapshot

_DIGEST_NAME: Final = re.compile(r"[0-9a-f]{32,128}")  # not in folders, where git keeps such
_ALIKE: Final = 5  # of the eight bytes that a record begins with
_SIGNER: Final = 12  # where the prefix names the key it was signed with


class Verdict(NamedTuple):
    """What a record is, why if it is not FRESH, and its head where that is authentic."""

    state: RecordState
    detail: str = ""
    head: Head | None = None


def judge(data: bytes, size: int | None, key: str, secrets: Mapping[bytes, bytes], now: float) -> Verdict:
    """Say what the record under `key` is that begins with `data` and has `size` bytes, if that is known.

    `data` holds as much of it as `bytes_to_open` asks for. `secrets` are those of the trusted keys by name.
    """
    if data[:8] != MAGIC or len(data) < TAG_END + FORMAT_FIELD.size:
        return _unrecognised(data, key, secrets)
    (version,) = FORMAT_FIELD.unpack_from(data, TAG_END)
    if version > FORMAT:
        return Verdict(RecordState.NEWER, f"it has format {version}; this flowstone reads up to {FORMAT}")
    if version == FORMAT and len(data) >= PREFIX_SIZE and signer_of(data) not in secrets:
        return Verdict(RecordState.FOREIGN, f"it is signed with the key {signer_of(data).hex()}, which is not ours")
    try:
        head = open_head(data, key, secrets)
    except RecordError as error:
        return Verdict(RecordState.DAMAGED, _short(error))
    except (struct.error, ValueError) as error:  # signed with one of our keys by who does not write records as we do
        return Verdict(RecordState.DAMAGED, f"it is not laid out like a record: {error}")
    return _judge_head(head, size, now)


def is_record(data: bytes) -> bool:
    """Say whether what begins with `data` looks like a record, of whichever format and whoever signed it."""
    return data[:8] == MAGIC


def signer_of(data: bytes) -> bytes:
    """Return the name of the key by which a record says that it is signed, given its prefix."""
    name: bytes = PREFIX.unpack_from(data)[_SIGNER]
    return name


def _judge_head(head: Head, size: int | None, now: float) -> Verdict:
    expected = head.start if head.split else head.total_size
    if size is not None and size != expected:
        return Verdict(RecordState.DAMAGED, f"it has {size} bytes instead of {expected}", head)
    if head.expires <= now:
        return Verdict(RecordState.EXPIRED, f"it was good for {head.expires - head.created:g} s", head)
    return Verdict(RecordState.FRESH, "", head)


def _unrecognised(data: bytes, key: str, secrets: Mapping[bytes, bytes]) -> Verdict:
    """Tell a record whose beginning was lost from a file that never was one: that may be dear to somebody."""
    alike = sum(one == other for one, other in zip(data, MAGIC)) >= _ALIKE
    signed = len(data) >= PREFIX_SIZE and signer_of(data) in secrets
    if alike or signed or _DIGEST_NAME.fullmatch(key):
        return Verdict(RecordState.DAMAGED, "it does not begin like a record" if data else "it is empty")
    return Verdict(RecordState.STRAY, "it does not begin like a record")


def _short(error: RecordError) -> str:
    """Return what the error says beyond the key and the verdict, which stand beside it already."""
    _, _, detail = str(error).partition(" is foreign or damaged: ")
    return detail.rstrip(".") or str(error)


def find_flaw(head: Head, payload: Snapshot, offset: int) -> str:
    """Read the payload that begins at `offset` and say what is wrong with it by its head; nothing is loaded.

    Returns "" for a payload that is as it was signed. Raises OSError if it cannot be read.
    """
    if payload.size - offset != head.payload_size or _laid_out(head) != head.payload_size:
        return "its payload has the wrong size"
    middle = offset + head.main_size
    if _digest(payload.pieces(offset, middle)) != head.main_digest:
        return "its payload is not the one it was signed with"
    beside = _digest(payload.pieces(middle, payload.size)) if head.buffer_sizes else NO_DIGEST
    if beside != head.buffers_digest:
        return "its buffers are not the ones it was signed with"
    return ""


def _laid_out(head: Head) -> int:
    """Return the size of the payload that the sizes of its parts make; -1 if their table is not there."""
    position: int = head.main_size
    try:
        sizes = head.buffer_sizes
    except struct.error:
        return -1
    for size in sizes:
        position += -position % ALIGNMENT + size
    return position


def _digest(pieces: Iterable[bytes | memoryview]) -> bytes:
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()
