"""Opening a record: nothing in it is believed before its tag has been checked, and nothing is deserialised here."""

from __future__ import annotations

from _operator import _compare_digest as same_digest  # hmac.compare_digest itself, without importing hashlib
from collections.abc import Mapping
from typing import Final

from blake3 import blake3

from flowstone.exceptions import RecordError
from flowstone.records.container import (
    ALIGNMENT,
    FORMAT,
    FORMAT_FIELD,
    JOINT,
    MAGIC,
    PREFIX,
    PREFIX_SIZE,
    TAG_END,
    Buffer,
    Head,
    digest,
    key_bytes,
)
from flowstone.records.info import MissReason

_LARGEST_HEAD: Final = 64 << 20
"""What claims more is not ours: millions of buffers in one record."""


def open_head(data: Buffer, key: str, secrets: Mapping[bytes, bytes]) -> Head:
    """Authenticate the head at the beginning of `data` and return it.

    `data` must hold the whole head, and the whole record if its tag covers that; `bytes_to_open` says how much to
    read. `secrets` are the secrets of the keys that are trusted, by name. Raises RecordError with the reason of the
    miss.
    """
    if not isinstance(data, bytes):
        data = bytes(data[: bytes_to_open(data)])  # what is checked must not change before it is used
    if len(data) < PREFIX_SIZE or data[:8] != MAGIC:
        raise _unrecognised(data, key)
    fields = PREFIX.unpack_from(data)
    _, tag, version, flags, key_size, name_size, text_size, count, _, _, _, total, key_id, _, _ = fields
    if version != FORMAT:
        raise _unrecognised(data, key)
    name_at = PREFIX_SIZE + key_size
    text_at = name_at + name_size
    table_at = text_at + text_size
    start = table_at + 8 * count
    start += -start % ALIGNMENT
    end = total if flags & JOINT else start
    _check_tag(data, end, flags, tag, secrets.get(key_id), key, key_id)
    if data[PREFIX_SIZE:name_at] != key_bytes(key):
        raise damaged(key, "it belongs to another key")
    if end < len(data):
        data = data[:end]  # a hit may live long; it need not keep the payload too
    return Head(key, data, fields, data[name_at:text_at].decode(), text_at, table_at, start)


def _check_tag(data: bytes, end: int, flags: int, tag: bytes, secret: bytes | None, key: str, key_id: bytes) -> None:
    if secret is None:
        raise damaged(key, f"it was signed with the key {key_id.hex()}, which is not one of ours")
    if len(data) < end:
        raise damaged(key, "it is cut short")
    if flags & JOINT and len(data) > end:
        raise damaged(key, "something follows its end")
    if not same_digest(blake3(data[TAG_END:end], key=secret).digest(), tag):
        raise damaged(key, "its tag does not fit")


def bytes_to_open(data: Buffer) -> int:
    """Return how many bytes of a record `open_head` needs, given its first PREFIX_SIZE bytes, which are not believed.

    Of what is no record, or one of another format, those are enough.
    """
    if len(data) < PREFIX_SIZE or data[:8] != MAGIC:
        return PREFIX_SIZE
    _, _, version, flags, key_size, name_size, text_size, count, _, _, _, total, *_ = PREFIX.unpack_from(data)
    if version != FORMAT:
        return PREFIX_SIZE
    start = PREFIX_SIZE + key_size + name_size + text_size + 8 * count
    needed = int(total if flags & JOINT else start + -start % ALIGNMENT)
    return needed if needed <= _LARGEST_HEAD else PREFIX_SIZE


def open_payload(
    head: Head, payload: Buffer, offset: int, *, buffers_too: bool = True, checked: bool = False
) -> tuple[Buffer, list[memoryview]]:
    """Check the payload that begins at `offset` of `payload` against its head; return its main part and its buffers.

    The main part is always checked, and copied first when `payload` is a view of a file: what a serializer interprets
    cannot change between the check and its use. The raw buffers are checked if `buffers_too`. Nothing is where these
    very bytes have been `checked` before. Raises RecordError.
    """
    end = offset + head.main_size
    if len(payload) - offset != head.total_size - head.start:
        raise damaged(head.key, "its payload has the wrong size")
    if checked or (head.flags & JOINT and isinstance(payload, bytes)):
        return payload[offset:end], _cut(head, payload, offset) if head.buffer_count else []
    main = _main_part(payload, offset, end)
    if not same_digest(digest(main, head.main_size), head.main_digest):
        raise damaged(head.key, "its payload is not the one it was signed with")
    if not head.buffer_count:
        return main, []
    beside = memoryview(payload)[end:]
    if buffers_too and not same_digest(digest(beside, beside.nbytes), head.buffers_digest):
        raise damaged(head.key, "its buffers are not the ones it was signed with")
    return main, _cut(head, payload, offset)


def _main_part(payload: Buffer, offset: int, end: int) -> Buffer:
    if isinstance(payload, bytes):
        return payload if offset == 0 and end == len(payload) else memoryview(payload)[offset:end]
    return bytes(payload[offset:end])


def _cut(head: Head, payload: Buffer, offset: int) -> list[memoryview]:
    """Return a view of each raw buffer; each begins at a multiple of the alignment from the start of the payload."""
    view = memoryview(payload)
    buffers = []
    position = head.main_size
    for size in head.buffer_sizes:
        position += -position % ALIGNMENT
        buffers.append(view[offset + position : offset + position + size])
        position += size
    return buffers


def damaged(key: str, detail: str) -> RecordError:
    """Return the error of a record that was not written whole by someone who holds one of our keys."""
    return RecordError(f"The record of key {key!r} is foreign or damaged: {detail}.", reason=MissReason.DAMAGED.value)


def _unrecognised(data: bytes, key: str) -> RecordError:
    if len(data) >= TAG_END + 2 and data[:8] == MAGIC:
        (version,) = FORMAT_FIELD.unpack_from(data, TAG_END)
        if version > FORMAT:
            return RecordError(
                f"The record of key {key!r} has format {version}; this flowstone reads up to {FORMAT}.",
                reason=MissReason.NEWER_FORMAT.value,
            )
    return damaged(key, "it does not begin like a record")
