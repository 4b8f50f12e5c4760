"""The record: one file that says what it is, and proves it.

`docs/record-format.md` describes the container byte by byte. This module makes and opens it; it knows nothing of
storages, and nothing is deserialised here but the header, which is plain JSON and only after its tag has been checked.
"""

from __future__ import annotations

import os
import struct
from _json import encode_basestring_ascii as _quoted  # the C encoder itself: importing json costs a cold start 3 ms
from _operator import _compare_digest as _same_digest  # what hmac.compare_digest is, without importing hashlib
from collections.abc import Mapping, Sequence
from enum import Enum
from sys import version_info
from typing import Final, NamedTuple

from blake3 import blake3

from flowstone.exceptions import RecordError

Buffer = bytes | bytearray | memoryview

MAGIC: Final = b"\x89FLS\r\n\x1a\n"
FORMAT: Final = 1
ALIGNMENT: Final = 64
JOINT_SIZE: Final = 4096
"""A record of at most this many bytes is covered by one tag; of a larger one the tag covers the head alone."""

_JOINT: Final = 1
_SPLIT: Final = 2
_PREFIX: Final = struct.Struct("<8s32sHHHHIIddQQ8s32s32s")
_VERSION: Final = struct.Struct("<H")
_TAG: Final = slice(8, 40)
_THREADS_FROM: Final = 1 << 20
_NEVER: Final = float("inf")
_ZEROS: Final = bytes(ALIGNMENT)
PREFIX_SIZE: Final = _PREFIX.size


class MissReason(Enum):
    """Why a look-up gave nothing; the value is how a person reads it."""

    ABSENT = "no record"
    EXPIRED = "expired"
    TOO_OLD = "older than this reader accepts"
    DAMAGED = "foreign or damaged"
    NEWER_FORMAT = "written by a newer flowstone"
    UNREADABLE = "the store cannot be read"
    UNKNOWN_SERIALIZER = "unknown serializer"
    UNSAFE_SERIALIZER = "its serializer could execute code"
    CANNOT_LOAD = "the value cannot be loaded"
    HALF_MISSING = "half of it is missing"
    REFRESHED = "a refresh was asked for"


class RecordInfo(NamedTuple):
    """What a record says of itself.

    Times are seconds since the epoch, `duration` is seconds, sizes are bytes. `parts` are the named parts of the key
    with their digests. `value_token` names the value's content where it is known. The fields from `serializer` on are
    filled in when the record is written.
    """

    key: str
    created: float
    expires: float | None = None
    task_name: str = ""
    task_module: str = ""
    task_run_id: str = ""
    flow_run_id: str | None = None
    duration: float = 0.0
    parts: tuple[tuple[str, str], ...] = ()
    policy: str = ""
    state_name: str = "Completed"
    state_message: str | None = None
    value_token: str | None = None
    items: int | None = None
    serializer: str = ""
    serializer_version: int = 1
    payload_size: int = 0
    payload_digest: str = ""
    host: str = ""
    python: str = ""
    flowstone: str = ""


class Head:
    """The opened and authenticated head of a record; `info` reads the rest of it when asked."""

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
            self._info = _read_info(self)
        return self._info

    @property
    def expiry(self) -> float | None:
        """Return when the record expires, in seconds since the epoch, or None for never."""
        return None if self.expires == _NEVER else self.expires


class Sealed(NamedTuple):
    """A record ready to be written: the head with all padding, and the parts of the payload with theirs."""

    head: bytes
    payload: list[Buffer]
    size: int


def damaged(key: str, detail: str) -> RecordError:
    """Return the error of a record that was not written whole by someone who holds one of our keys."""
    return RecordError(f"The record of key {key!r} is foreign or damaged: {detail}.", reason=MissReason.DAMAGED.value)


# --- writing -----------------------------------------------------------------------------------------------------


def seal(
    info: RecordInfo,
    main: Buffer,
    buffers: Sequence[Buffer],
    *,
    key_id: bytes,
    secret: bytes,
    split: bool = False,
) -> Sealed:
    """Make a record of a payload: `main` is what a serializer interprets, `buffers` are raw memory beside it.

    With `split` the head is to be stored on its own, the payload elsewhere.
    """
    key = info.key.encode("utf-8", "surrogatepass")
    serializer = info.serializer.encode()
    sizes = [len(buffer) if isinstance(buffer, bytes | bytearray) else buffer.nbytes for buffer in buffers]
    main_size = len(main) if isinstance(main, bytes | bytearray) else main.nbytes
    payload, payload_size = _laid_out(main, main_size, buffers, sizes)
    main_digest = _digest(main, main_size)
    buffers_digest = _digest_all(payload[1:], payload_size - main_size) if buffers else bytes(32)
    text = _info_json(info, payload_size, main_digest, buffers_digest).encode("ascii")
    table = struct.pack(f"<{len(sizes)}Q", *sizes) if sizes else b""
    head_size = PREFIX_SIZE + len(key) + len(serializer) + len(text) + len(table)
    start = head_size + -head_size % ALIGNMENT
    total = start + payload_size
    joint = not split and total <= JOINT_SIZE
    signed = _PREFIX.pack(
        MAGIC,
        b"",
        FORMAT,
        (_JOINT if joint else 0) | (_SPLIT if split else 0),
        len(key),
        len(serializer),
        len(text),
        len(sizes),
        info.created,
        _NEVER if info.expires is None else info.expires,
        main_size,
        total,
        key_id,
        main_digest,
        buffers_digest,
    )[40:] + b"".join((key, serializer, text, table, _ZEROS[: start - head_size]))
    if joint:
        signed = b"".join((signed, *payload))
        payload = []
    tag = blake3(signed, key=secret).digest()
    return Sealed(MAGIC + tag + signed, payload, start if split else total)


def _laid_out(
    main: Buffer, main_size: int, buffers: Sequence[Buffer], sizes: Sequence[int]
) -> tuple[list[Buffer], int]:
    """Return the payload as pieces to be written in a row, each buffer at a multiple of the alignment, and its size."""
    if not buffers:
        return [main], main_size
    pieces = [main]
    position = main_size
    for buffer, size in zip(buffers, sizes):
        gap = -position % ALIGNMENT
        if gap:
            pieces.append(_ZEROS[:gap])
        pieces.append(buffer)
        position += gap + size
    return pieces, position


def _digest(data: Buffer, size: int) -> bytes:
    if size < _THREADS_FROM:
        return blake3(data).digest()
    return blake3(data, max_threads=blake3.AUTO).digest()


def _digest_all(pieces: Sequence[Buffer], size: int) -> bytes:
    """Digest pieces one after the other; the sizes of the buffers are signed beside, so the joints need no mark."""
    hasher = blake3(max_threads=blake3.AUTO if size >= _THREADS_FROM else 1)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


def _info_json(info: RecordInfo, payload_size: int, main_digest: bytes, buffers_digest: bytes) -> str:
    """Write the header: what the prefix does not hold, as one JSON object in ASCII.

    By hand, because the fields are few and known and this is on the path of every write.
    """
    quoted, maybe = _quoted, _maybe_quoted
    parts = ",".join(f"[{quoted(name)},{quoted(digest)}]" for name, digest in info.parts)
    items = "null" if info.items is None else info.items
    return (
        f'{{"task_name":{quoted(info.task_name)},"task_module":{quoted(info.task_module)},'
        f'"task_run_id":{quoted(info.task_run_id)},"flow_run_id":{maybe(info.flow_run_id)},'
        f'"duration":{info.duration!r},"parts":[{parts}],"policy":{quoted(info.policy)},'
        f'"state_name":{quoted(info.state_name)},"state_message":{maybe(info.state_message)},'
        f'"value_token":{maybe(info.value_token)},"items":{items},'
        f'"serializer_version":{info.serializer_version},"payload_size":{payload_size},{_here()}}}'
    )


def _maybe_quoted(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def _digest_text(main_digest: bytes, buffers_digest: bytes) -> str:
    return blake3(main_digest + buffers_digest).hexdigest()


_where: str = ""


def _here() -> str:
    """Return the fields that are the same for every record of this process; kept, since they never change."""
    global _where
    if not _where:
        host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
        python = ".".join(map(str, version_info[:3]))
        _where = f'"host":{_quoted(host)},"python":"{python}","flowstone":"{VERSION}"'
    return _where


VERSION: Final = "0.1.0"


# --- reading -----------------------------------------------------------------------------------------------------


def open_head(data: Buffer, key: str, secrets: Mapping[bytes, bytes]) -> Head:
    """Authenticate the head at the beginning of `data` and return it.

    `data` must hold the whole head, and the whole record if that is no larger than JOINT_SIZE; `head_size` says how
    much to read. Raises RecordError with the reason of the miss.
    """
    if not isinstance(data, bytes):
        data = bytes(data[: head_size(data)])  # what is checked must not change before it is used
    if len(data) < PREFIX_SIZE or data[:8] != MAGIC:
        raise _unrecognised(data, key)
    fields = _PREFIX.unpack_from(data)
    _, tag, version, flags, key_size, name_size, text_size, count, created, expires, main_size, total = fields[:12]
    key_id, main_digest, buffers_digest = fields[12:]
    if version != FORMAT:
        raise _unrecognised(data, key)
    secret = secrets.get(key_id)
    if secret is None:
        raise damaged(key, f"it was signed with the key {key_id.hex()}, which is not one of ours")
    name_at = PREFIX_SIZE + key_size
    text_at = name_at + name_size
    table_at = text_at + text_size
    start = table_at + 8 * count
    start += -start % ALIGNMENT
    end = total if flags & _JOINT else start
    if len(data) < end:
        raise damaged(key, "it is cut short")
    if flags & _JOINT and len(data) > end:
        raise damaged(key, "something follows its end")
    if not _same_digest(blake3(data[40:end], key=secret).digest(), tag):
        raise damaged(key, "its tag does not fit")
    if data[PREFIX_SIZE:name_at] != key.encode("utf-8", "surrogatepass"):
        raise damaged(key, "it belongs to another key")
    head = Head()
    head.key = key
    head.tag = tag
    head.created = created
    head.expires = expires
    head.joint = bool(flags & _JOINT)
    head.split = bool(flags & _SPLIT)
    head.serializer = str(data[name_at:text_at], "utf-8")
    head._json = bytes(data[text_at:table_at])
    head._info = None
    head.buffer_sizes = struct.unpack_from(f"<{count}Q", data, table_at) if count else ()
    head.start = start
    head.main_size = main_size
    head.total_size = total
    head.main_digest = main_digest
    head.buffers_digest = buffers_digest
    return head


def head_size(data: Buffer) -> int:
    """Return how many bytes of a record `open_head` needs, from its first PREFIX_SIZE bytes."""
    if len(data) < PREFIX_SIZE or data[:8] != MAGIC:
        return PREFIX_SIZE
    fields = _PREFIX.unpack_from(data)
    if fields[2] != FORMAT:
        return PREFIX_SIZE
    start = PREFIX_SIZE + fields[4] + fields[5] + fields[6] + 8 * fields[7]
    start += -start % ALIGNMENT
    return int(fields[11]) if fields[3] & _JOINT else int(start)


def _unrecognised(data: Buffer, key: str) -> RecordError:
    if len(data) >= 42 and data[:8] == MAGIC:
        (version,) = _VERSION.unpack_from(data, 40)
        if version > FORMAT:
            return RecordError(
                f"The record of key {key!r} has format {version}; this flowstone reads up to {FORMAT}.",
                reason=MissReason.NEWER_FORMAT.value,
            )
    return damaged(key, "it does not begin like a record")


def _read_info(head: Head) -> RecordInfo:
    import json  # asked for by tools and explanations only; the path of a hit never comes here

    fields = json.loads(head._json)
    known = {name: fields[name] for name in RecordInfo._fields if name in fields}
    known["parts"] = tuple((name, digest) for name, digest in known.get("parts", ()))
    return RecordInfo(
        **known,
        key=head.key,
        created=head.created,
        expires=head.expiry,
        serializer=head.serializer,
        payload_digest=_digest_text(head.main_digest, head.buffers_digest),
    )


def open_payload(
    head: Head, payload: Buffer, offset: int, *, buffers_too: bool = True
) -> tuple[Buffer, list[memoryview]]:
    """Check the payload that begins at `offset` of `payload` against its head; return its main part and its buffers.

    The main part is always checked, and is a private copy when `payload` is a view of a file: what a serializer
    interprets cannot change between the check and its use. The raw buffers are checked if `buffers_too`.
    """
    main_end = offset + head.main_size
    size = len(payload)
    if size != offset + head.total_size - head.start:
        raise damaged(head.key, "its payload has the wrong size")
    if head.joint:
        return payload[offset:main_end], []
    main = _main_part(payload, offset, main_end)
    if not _same_digest(_digest(main, head.main_size), head.main_digest):
        raise damaged(head.key, "its payload is not the one it was signed with")
    buffers = _cut(head, memoryview(payload), main_end - offset, offset)
    beside = memoryview(payload)[main_end:]
    if buffers and buffers_too and not _same_digest(_digest(beside, size - main_end), head.buffers_digest):
        raise damaged(head.key, "its buffers are not the ones it was signed with")
    return main, buffers


def _main_part(payload: Buffer, offset: int, end: int) -> Buffer:
    if isinstance(payload, bytes):
        return payload if offset == 0 and end == len(payload) else memoryview(payload)[offset:end]
    return bytes(payload[offset:end])


def _cut(head: Head, payload: memoryview, position: int, offset: int) -> list[memoryview]:
    buffers = []
    for size in head.buffer_sizes:
        position += -position % ALIGNMENT
        buffers.append(payload[offset + position : offset + position + size])
        position += size
    return buffers
