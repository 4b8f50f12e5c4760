"""A storage in the memory of this process: the readable reference of the contract, bounded by bytes."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode, check_key

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

DEFAULT_MAX_BYTES = 1 << 30


class _Item:
    __slots__ = ("data", "modified", "stamp", "used")

    def __init__(self, data: bytes, stamp: Stamp, now: float) -> None:
        self.data = data
        self.stamp = stamp
        self.modified = now
        self.used = now


class _Place:
    """What all objects of one name share: the blobs, least recently used first, and how many bytes they are."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name = name
        self.max_bytes = max_bytes
        self.lock = threading.Lock()
        self.items: OrderedDict[str, _Item] = OrderedDict()
        self.bytes = 0
        self.versions = itertools.count(1)


_places: dict[str, _Place] = {}
_places_lock = threading.Lock()
_anonymous = itertools.count(1)


def _place(name: str, max_bytes: int | None) -> _Place:
    with _places_lock:
        place = _places.get(name)
        if place is None:
            place = _places[name] = _Place(name, max_bytes or DEFAULT_MAX_BYTES)
        elif max_bytes is not None:
            place.max_bytes = max_bytes
        return place


class MemoryFileSystem(Storage):
    """Keeps blobs in this process, at most `max_bytes` of them; the least recently used go first.

    Objects of one `name` share their blobs; without a name the place belongs to this object and its copies.
    """

    memory_speed = True

    def __init__(self, name: str | None = None, *, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes < 0:
            raise ConfigurationError(f"max_bytes must not be negative, got {max_bytes}.")
        self.name = name or f"anonymous-{next(_anonymous)}"
        self._place = _place(self.name, max_bytes)

    @property
    def identity(self) -> str:
        return f"memory://{self.name}"

    def __repr__(self) -> str:
        return f"MemoryFileSystem({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.name, self._place.max_bytes)

    def get(self, key: str) -> Blob | None:
        check_key(key)
        place = self._place
        with place.lock:
            item = place.items.get(key)
            if item is None:
                return None
            item.used = time.time()
            place.items.move_to_end(key)
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
        data = b"".join(parts)
        with self._place.lock:
            if mode == WriteMode.CREATE_ONLY and key in self._place.items:
                return None
            stamp = self._set(key, data)
            self._evict()
            return stamp

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        blobs = []
        for key, parts in group:
            check_key(key)
            blobs.append((key, b"".join(parts)))
        with self._place.lock:
            for key, data in blobs:
                self._set(key, data)
            self._evict()

    def _set(self, key: str, data: bytes) -> Stamp:
        place = self._place
        old = place.items.pop(key, None)
        stamp = Stamp((next(place.versions),))
        place.items[key] = _Item(data, stamp, time.time())
        place.bytes += len(data) - (len(old.data) if old else 0)
        return stamp

    def _evict(self) -> None:
        place = self._place
        while place.bytes > place.max_bytes and place.items:
            _, item = place.items.popitem(last=False)
            place.bytes -= len(item.data)

    def delete(self, key: str) -> bool:
        check_key(key)
        with self._place.lock:
            item = self._place.items.pop(key, None)
            if item is None:
                return False
            self._place.bytes -= len(item.data)
            return True

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        with self._place.lock:
            entries = [
                Entry(key, len(item.data), item.modified, item.used)
                for key, item in self._place.items.items()
                if key.startswith(prefix)
            ]
        return iter(entries)

    def touch(self, key: str) -> None:
        item = self._place.items.get(key)
        if item is not None:
            item.used = time.time()

    def natural_lock_manager(self) -> LockManager | None:
        from flowstone.locking.memory import MemoryLockManager

        return MemoryLockManager()


def _rebuild(name: str, max_bytes: int) -> MemoryFileSystem:
    return MemoryFileSystem(name, max_bytes=max_bytes)
