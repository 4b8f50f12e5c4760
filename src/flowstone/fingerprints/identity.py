"""What is known of objects, by their identity and for as long as they live."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from weakref import ref

V = TypeVar("V")


class ByIdentity(Generic[V]):
    """A value for each of some objects, told apart by identity: equal ones stay apart, and none is kept alive.

    Beyond `most` entries the oldest go. Safe in threads: each step is one operation of a dict.
    """

    __slots__ = ("_most", "entries")

    def __init__(self, most: int = 1 << 16) -> None:
        self.entries: dict[int, tuple[ref[Any], V]] = {}
        self._most = most

    def get(self, thing: object) -> V | None:
        entry = self.entries.get(id(thing))
        return entry[1] if entry is not None and entry[0]() is thing else None

    def keep(self, thing: object, value: V) -> V:
        """Keep a value, unless the object is of a kind that cannot be referred to weakly."""
        entries, place = self.entries, id(thing)

        def forget(_: object, *, pop: Any = entries.pop, place: int = place) -> None:
            pop(place, None)  # named as defaults: at the end of the interpreter nothing else may be left

        try:
            reference = ref(thing, forget)
        except TypeError:
            return value
        while len(entries) >= self._most:
            entries.pop(next(iter(entries)), None)
        entries[place] = (reference, value)
        return value
