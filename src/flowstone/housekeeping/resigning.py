"""Giving a record another signature, and moving it between stores that keep it whole and in halves."""

from __future__ import annotations

from typing import Final, NamedTuple

from blake3 import blake3

from flowstone.records import ALIGNMENT, MAGIC
from flowstone.records.container import JOINT, PREFIX, PREFIX_SIZE, SPLIT, TAG_END
from flowstone.signing import SigningKey

Bytes = bytes | memoryview

_FLAGS: Final = 3  # where the prefix has these fields
_SIZES: Final = slice(4, 8)
_SIGNER: Final = 12


class Halves(NamedTuple):
    """A record cut where its payload begins."""

    head: bytes
    payload: Bytes


def cut(data: Bytes) -> Halves:
    """Cut a record where it says that its payload begins; nothing else it says is looked at."""
    key_size, name_size, text_size, count = PREFIX.unpack_from(data)[_SIZES]
    start = PREFIX_SIZE + key_size + name_size + text_size + 8 * count
    start += -start % ALIGNMENT
    return Halves(bytes(data[:start]), data[start:])


def is_joint(head: bytes) -> bool:
    """Say whether the tag of a record covers its payload too, by its own word."""
    return bool(PREFIX.unpack_from(head)[_FLAGS] & JOINT)


def sign_again(record: Halves, signer: SigningKey, *, split: bool) -> Halves:
    """Return the record as `signer` would have signed it, to be kept in halves if `split`.

    Nothing else in it changes: the head speaks of the payload by digest, so that need not be read. The tag of the new
    record covers its head alone, which every reader accepts.
    """
    fields = list(PREFIX.unpack_from(record.head))
    flags = fields[_FLAGS] & ~(JOINT | SPLIT)
    fields[_FLAGS] = flags | (SPLIT if split else 0)
    fields[_SIGNER] = signer.id
    signed = PREFIX.pack(*fields)[TAG_END:] + record.head[PREFIX_SIZE:]
    return Halves(MAGIC + blake3(signed, key=signer.secret).digest() + signed, record.payload)
