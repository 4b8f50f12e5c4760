"""Fingerprints that were made before, for as long as what they looked at is the same."""

from __future__ import annotations

from typing import Any
from weakref import ref

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.boundary import Boundary
from flowstone.fingerprints.guards import Guard
from flowstone.fingerprints.identity import ByIdentity


class Kept:
    """The fingerprints made under one boundary, with or without what code reaches, by the identity of their function.

    Where `owner` is given, the functions are methods looked up on that class, which is not kept alive.
    """

    def __init__(self, boundary: Boundary, *, reach: bool, owner: type | None = None) -> None:
        self._boundary = boundary
        self._reach = reach
        self._owner = None if owner is None else ref(owner)
        self._known: ByIdentity[tuple[Guard, Fingerprint]] = ByIdentity(most=4096)
        self._entries = self._known.entries

    def of(self, fn: Any) -> Fingerprint:
        """Return the fingerprint of a function, made anew if anything it looked at is not the same."""
        entry = self._entries.get(id(fn))
        if entry is not None and entry[0]() is fn and entry[1][0].holds(fn):
            return entry[1][1]
        return self._make(fn)

    def _make(self, fn: Any) -> Fingerprint:
        from flowstone.fingerprints.walk import Walk  # what a process needs only if it fingerprints anything

        walk = Walk(fn, self._boundary, reach=self._reach, owner=self._owner() if self._owner else None)
        fingerprint = walk.fingerprint()
        self._known.keep(fn, (walk.guard, fingerprint))
        return fingerprint
