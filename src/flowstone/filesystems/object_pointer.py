"""The small object that stands at a key whose bytes lie elsewhere, because it was written as one of a group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from flowstone.filesystems.base import INTERNAL_PREFIX, Buffer

GROUPS: Final = f"{INTERNAL_PREFIX}/groups"
MAGIC: Final = b"\x89FLSgroup1\r\n\x1a\n"

# Every pointer has this size, so that a listing or a look at a key tells which objects may be one without reading them.
POINTER_SIZE: Final = 509

# Above this, a blob that was written in a group is not sent a second time to take its pointer's place.
PLAIN_MOST: Final = 8 << 20


class Target(NamedTuple):
    """Where the bytes lie that a pointer stands for, and how many they are. What lies there is never replaced."""

    path: str
    size: int

    @property
    def stays(self) -> bool:
        """Whether these bytes are left where they are for good, with a pointer at their key.

        Large ones, and those which as a plain object could be taken for a pointer.
        """
        return self.size > PLAIN_MOST or self.size == POINTER_SIZE


class Pointer(NamedTuple):
    """What stands at a key: `new`, or if `pending`, `new` or `old` by the verdict of the group. None is nothing."""

    group: str
    pending: bool
    new: Target | None
    old: Target | None = None

    def encode(self) -> bytes:
        """Return the object's bytes."""
        fields = [self.group, self.pending, self.new, self.old]
        return (MAGIC + json.dumps(fields, separators=(",", ":")).encode()).ljust(POINTER_SIZE)

    @classmethod
    def decode(cls, data: Buffer) -> Pointer | None:
        """Return the pointer these bytes are, or None if they are plain bytes."""
        if len(data) != POINTER_SIZE or bytes(data[: len(MAGIC)]) != MAGIC:
            return None
        try:
            group, pending, new, old = json.loads(bytes(data[len(MAGIC) :]))
            pointer = cls(str(group), bool(pending), _target(new), _target(old))
        except (ValueError, TypeError):
            return None
        return pointer if _is_name(pointer.group) else None


def nothing() -> Pointer:
    """Return what stands at a key where an aborted group found nothing: a store cannot delete only if unchanged."""
    return Pointer("", pending=False, new=None)


def looks_like_pointer(parts: Sequence[Buffer]) -> bool:
    """Say whether a blob of these parts, as a plain object, would be read as a pointer."""
    if sum(len(part) for part in parts) != POINTER_SIZE:
        return False
    return b"".join(parts).startswith(MAGIC)


def _target(field: object) -> Target | None:
    """Check what a pointer names: it must lie among the groups, whoever wrote the pointer."""
    if field is None:
        return None
    if not isinstance(field, list) or len(field) != 2:
        raise ValueError("not a target")
    path, size = field
    folder, _, rest = str(path).partition(f"{GROUPS}/")
    group, _, name = rest.partition("/")
    if folder or not _is_name(group) or not _is_name(name) or type(size) is not int:
        raise ValueError("not a target")
    return Target(str(path), size)


def _is_name(text: str) -> bool:
    return "/" not in text and text not in (".", "..")
