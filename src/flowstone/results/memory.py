"""The fast layer in front of a storage: verified records of this process, bounded by bytes.

Nothing here is ever handed out itself: a hit is made anew from the bytes, or is a value that nobody can change. Every
hit is checked against the stamp of the blob in the storage, so what other processes refresh or delete is seen.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from threading import Lock
from typing import Final, cast
from weakref import WeakSet

from flowstone.filesystems.base import Stamp
from flowstone.records import Head
from flowstone.results.found import NOT_LOADED

_OVERHEAD: Final = 700
"""Bytes that an entry costs beside its data: measured, roughly."""

_FEW: Final = 256
_ATOMS: Final = frozenset({int, str, bytes, float, bool, complex, type(None)})


class Kept:
    """One record in memory: `data` is the whole of it; `value` its value if that is immutable through and through."""

    __slots__ = ("cost", "data", "head", "stamp", "used", "value")

    def __init__(self, stamp: Stamp, head: Head, data: bytes, value: object) -> None:
        self.stamp = stamp
        self.head = head
        self.data = data
        self.value = value
        self.cost = len(data) + _OVERHEAD if value is NOT_LOADED else 2 * len(data) + _OVERHEAD
        self.used = False


class MemoryLayer:
    """Keeps at most `max_bytes` of records.

    Reading takes no lock: one dict look-up and one flag. Who keeps something evicts, oldest first, sparing once what
    was used since; if another thread is at it, the record is simply not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.entries: dict[str, Kept] = {}
        self.bytes = 0
        self._lock = Lock()
        _layers.add(self)

    def keep(self, key: str, kept: Kept) -> None:
        """Keep a verified record unless it is too large or the layer is busy."""
        if kept.cost > self.max_bytes // 8 or not self._lock.acquire(blocking=False):
            return
        try:
            self._remove(key)
            self.entries[key] = kept
            self.bytes += kept.cost
            while self.bytes > self.max_bytes:
                self._evict_one()
        finally:
            self._lock.release()

    def forget(self, key: str) -> None:
        """Drop what is kept under `key`; skipping it would cost a stale entry its place, never a wrong hit."""
        if self._lock.acquire(blocking=False):
            try:
                self._remove(key)
            finally:
                self._lock.release()

    def _remove(self, key: str) -> None:
        old = self.entries.pop(key, None)
        if old is not None:
            self.bytes -= old.cost

    def _evict_one(self) -> None:
        key = next(iter(self.entries))
        kept = self.entries.pop(key)
        if kept.used:
            kept.used = False
            self.entries[key] = kept
        else:
            self.bytes -= kept.cost

    def _begin_in_child(self) -> None:
        """Another thread of the parent may have been at work here; nothing of it can be relied on in the child."""
        self._lock = Lock()
        self.entries = {}
        self.bytes = 0


def is_immutable(value: object, depth: int = 4) -> bool:
    """Say whether everyone can be given `value`: an atom, or small tuples and frozensets of such, of exact types."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if (kind is not tuple and kind is not frozenset) or depth == 0:
        return False
    items = cast("Collection[object]", value)
    return len(items) <= _FEW and all(is_immutable(item, depth - 1) for item in items)


_layers: WeakSet[MemoryLayer] = WeakSet()


def _begin_in_child() -> None:
    for layer in list(_layers):
        layer._begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
