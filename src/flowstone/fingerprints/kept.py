"""Fingerprints that were made before, for as long as what they looked at is the same."""

from __future__ import annotations

from typing import Any
from weakref import ref

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.guards import Guard

_MOST = 4096


class Kept:
    """Fingerprints by the identity of their function; an entry goes with its function, or when there are too many."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[ref[Any], Guard, Fingerprint]] = {}

    def get(self, fn: Any) -> Fingerprint | None:
        entry = self._entries.get(id(fn))
        if entry is not None and entry[0]() is fn and entry[1].holds(fn):
            return entry[2]
        return None

    def keep(self, fn: Any, fingerprint: Fingerprint, guard: Guard) -> Fingerprint:
        key, entries = id(fn), self._entries
        try:
            alive = ref(fn, lambda _: entries.pop(key, None))
        except TypeError:  # a few kinds of callables cannot be referred to weakly: they are looked at each time
            return fingerprint
        while len(entries) >= _MOST:
            entries.pop(next(iter(entries)), None)
        entries[key] = (alive, guard, fingerprint)
        return fingerprint
