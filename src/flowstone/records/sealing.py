"""Making a record of a payload."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from flowstone.hashing.threads import allowed
from flowstone.records.container import (
    ALIGNMENT,
    FORMAT,
    JOINT,
    JOINT_SIZE,
    MAGIC,
    NEVER,
    NO_DIGEST,
    PREFIX,
    PREFIX_SIZE,
    SPLIT,
    TAG_END,
    Buffer,
    digest,
    key_bytes,
    size_of,
)
from flowstone.records.info import RecordInfo, info_json
from flowstone.signing import SigningKey

_ZEROS: Final = bytes(ALIGNMENT)


class Sealed(NamedTuple):
    """A record ready to be written.

    `head` goes first and `payload` follows piece by piece, padding included; the payload of a small record is part of
    its head already. `size` is that of both.
    """

    head: bytes
    payload: Sequence[Buffer]
    size: int


def seal(
    info: RecordInfo,
    main: Buffer,
    buffers: Sequence[Buffer],
    signer: SigningKey,
    *,
    serializer: str,
    serializer_version: int = 1,
    split: bool = False,
) -> Sealed:
    """Make a record: `main` is what a serializer interprets, `buffers` are raw memory beside it.

    With `split` the head is to be stored on its own, the payload elsewhere.
    """
    main_size = size_of(main)
    payload, payload_size = _laid_out(main, main_size, buffers) if buffers else ([main], main_size)
    beside = _digest_of_pieces(payload[1:]) if buffers else NO_DIGEST
    names = key_bytes(info.key), serializer.encode(), info_json(info, serializer_version).encode("ascii")
    table = struct.pack(f"<{len(buffers)}Q", *map(size_of, buffers)) if buffers else b""
    head_size = PREFIX_SIZE + sum(map(len, names)) + len(table)
    start = head_size + -head_size % ALIGNMENT
    total = start + payload_size
    joint = not split and total <= JOINT_SIZE
    prefix = PREFIX.pack(
        MAGIC,
        b"",
        FORMAT,
        (JOINT if joint else 0) | (SPLIT if split else 0),
        *map(len, names),
        len(buffers),
        info.created,
        NEVER if info.expires is None else info.expires,
        main_size,
        total,
        signer.id,
        digest(main, main_size),
        beside,
    )
    signed = b"".join((prefix[TAG_END:], *names, table, _ZEROS[: start - head_size], *(payload if joint else ())))
    head = b"".join((MAGIC, blake3(signed, key=signer.secret).digest(), signed))
    return Sealed(head, () if joint else payload, total)


def _laid_out(main: Buffer, main_size: int, buffers: Sequence[Buffer]) -> tuple[list[Buffer], int]:
    """Return the payload as pieces to be written in a row, each buffer at a multiple of the alignment, and its size."""
    pieces = [main]
    position = main_size
    for buffer in buffers:
        gap = -position % ALIGNMENT
        pieces += (_ZEROS[:gap], buffer) if gap else (buffer,)
        position += gap + size_of(buffer)
    return pieces, position


def _digest_of_pieces(pieces: Sequence[Buffer]) -> bytes:
    """Digest all that follows the main part; the sizes of the buffers are signed, so the joints need no mark."""
    hasher = blake3(max_threads=allowed() if sum(map(size_of, pieces)) >= 1 << 20 else 1)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()
