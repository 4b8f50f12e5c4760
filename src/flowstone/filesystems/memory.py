"""A storage in the memory of this process: the readable reference of the contract, bounded by bytes."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode, check_key

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

DEFAULT_MAX_BYTES = 1 << 30
_OVERHEAD = 400  # bytes that an entry takes besides its blob: key, stamp, times, its share of the table


class _Item:
    __slots__ = ("data", "modified", "stamp", "used")

    def __init__(self, data: bytes, stamp: Stamp) -> None:
        self.data = data
        self.stamp = stamp
        self.modified = self.used = time.time()


class _Place:
    """What all objects of one name share: the blobs, least recently used first, and how many bytes they take."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.lock = threading.Lock()
        self.items: OrderedDict[str, _Item] = OrderedDict()
        self.bytes = 0
        self.renew()
        _all_places.add(self)

    def renew(self) -> None:
        """Start a new line of stamps, which no other process and no other place of this one gives."""
        self.line = os.urandom(8).hex()
        self.versions = itertools.count(1)

    def next_stamp(self) -> Stamp:
        return Stamp((self.line, next(self.versions)))

    def set(self, key: str, data: bytes) -> Stamp:
        self.remove(key)
        stamp = self.next_stamp()
        self.items[key] = _Item(data, stamp)
        self.bytes += len(data) + _OVERHEAD
        return stamp

    def remove(self, key: str) -> bool:
        item = self.items.pop(key, None)
        if item is None:
            return False
        self.bytes -= len(item.data) + _OVERHEAD
        return True

    def shrink(self) -> None:
        while self.bytes > self.max_bytes:
            self.remove(next(iter(self.items)))


class MemoryFileSystem(Storage):
    """Keeps blobs in this process, in at most `max_bytes` (default 1 GiB); the least recently used go first.

    Objects of one `name` share their blobs, for as long as the process lives; without a name the place belongs to this
    object and its copies. A blob, or a group, that is larger than the bound is not kept at all. In another process the
    same name is another place, empty at first; a forked child has a copy of what was there.
    """

    memory_speed = True

    def __init__(self, name: str | None = None, *, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes < 0:
            raise ConfigurationError(f"max_bytes must not be negative, got {max_bytes}.")
        self.name = name or f"anonymous-{os.urandom(8).hex()}"
        self._place = _find_place(self.name, named=bool(name), max_bytes=max_bytes)

    @property
    def identity(self) -> str:
        return f"memory://{self.name}"

    @property
    def max_bytes(self) -> int:
        """How many bytes the place may take."""
        return self._place.max_bytes

    def __repr__(self) -> str:
        return f"MemoryFileSystem({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.name, self.max_bytes)

    def get(self, key: str) -> Blob | None:
        check_key(key)
        place = self._place
        with place.lock:
            item = place.items.get(key)
            if item is None:
                return None
            place.items.move_to_end(key)
            item.used = time.time()
            return Blob(item.data, item.stamp)

    def stamp(self, key: str) -> Stamp | None:
        check_key(key)
        item = self._place.items.get(key)
        return None if item is None else item.stamp

    def head(self, key: str, size: int) -> bytes | None:
        check_key(key)
        item = self._place.items.get(key)
        return None if item is None else item.data[:size]

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        check_key(key)
        place = self._place
        data = self._join(parts)
        with place.lock:
            if mode == WriteMode.CREATE_ONLY and key in place.items:
                return None
            if data is None:
                place.remove(key)
                return place.next_stamp()
            stamp = place.set(key, data)
            place.shrink()
            return stamp

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        for key, _ in group:
            check_key(key)
        blobs = {key: self._join(parts) for key, parts in group}
        fits = sum(_OVERHEAD + len(data) if data is not None else self.max_bytes + 1 for data in blobs.values())
        place = self._place
        with place.lock:
            for key, data in blobs.items():
                if data is not None and fits <= place.max_bytes:
                    place.set(key, data)
                else:
                    place.remove(key)
            place.shrink()

    def _join(self, parts: Sequence[Buffer]) -> bytes | None:
        """Return a copy of the parts as one, or None without copying if it would not fit."""
        size = sum(memoryview(part).nbytes for part in parts)
        return b"".join(parts) if size + _OVERHEAD <= self.max_bytes else None

    def delete(self, key: str) -> bool:
        check_key(key)
        with self._place.lock:
            return self._place.remove(key)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        with self._place.lock:
            items = list(self._place.items.items())
        for key, item in items:
            if key.startswith(prefix):
                yield Entry(key, len(item.data), item.modified, item.used)

    def touch(self, key: str) -> None:
        place = self._place
        with place.lock:
            item = place.items.get(key)
            if item is not None:
                place.items.move_to_end(key)
                item.used = time.time()

    def natural_lock_manager(self) -> LockManager:
        from flowstone.locking.memory import MemoryLockManager

        return MemoryLockManager()


_named: dict[str, _Place] = {}  # a named place lives as long as the process, since its name can be said at any time
_anonymous: WeakValueDictionary[str, _Place] = WeakValueDictionary()  # the others as long as somebody holds them
_all_places: WeakSet[_Place] = WeakSet()
_registry = threading.Lock()


def _find_place(name: str, *, named: bool, max_bytes: int | None) -> _Place:
    with _registry:
        place = _named.get(name) or _anonymous.get(name)
        if place is None:
            place = _Place(DEFAULT_MAX_BYTES if max_bytes is None else max_bytes)
            if named and not name.startswith("anonymous-"):
                _named[name] = place
            else:
                _anonymous[name] = place
        elif max_bytes is not None:
            place.max_bytes = max_bytes
        return place


def _rebuild(name: str, max_bytes: int) -> MemoryFileSystem:
    return MemoryFileSystem(name, max_bytes=max_bytes)


def _renew_after_fork() -> None:
    """Make the places usable in a forked child: another thread may have been in the middle of a change at the fork."""
    global _registry
    _registry = threading.Lock()
    for place in list(_all_places):
        place.lock = threading.Lock()
        place.renew()
        place.bytes = sum(len(item.data) + _OVERHEAD for item in place.items.values())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
