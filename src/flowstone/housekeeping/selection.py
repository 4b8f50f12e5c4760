"""Which records are meant: conditions that can be joined by `&`, `|` and `~`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Final

from flowstone.exceptions import ConfigurationError
from flowstone.housekeeping.entry import RecordEntry, RecordState


class Where(ABC):
    """A condition on records; immutable. `a & b`, `a | b` and `~a` are conditions, too."""

    __slots__ = ()

    @abstractmethod
    def scan_prefix(self) -> str:
        """Return what the keys of all records begin with that this can hold for."""

    @abstractmethod
    def sees(self, key: str, size: int | None, used: float, now: float) -> bool | None:
        """Say whether it holds, by the listing alone; None if the record must be opened to tell."""

    @abstractmethod
    def holds(self, entry: RecordEntry, now: float) -> bool:
        """Say whether it holds for a record at `now`, in seconds since the epoch."""

    def __and__(self, other: Where) -> Where:
        return Both(self, other)

    def __or__(self, other: Where) -> Where:
        return Either(self, other)

    def __invert__(self) -> Where:
        return Not(self)


@dataclass(frozen=True, slots=True)
class Both(Where):
    """What two conditions hold for."""

    one: Where
    other: Where

    def scan_prefix(self) -> str:
        return max(self.one.scan_prefix(), self.other.scan_prefix(), key=len)

    def sees(self, key: str, size: int | None, used: float, now: float) -> bool | None:
        seen = self.one.sees(key, size, used, now)
        if seen is False:
            return False
        also = self.other.sees(key, size, used, now)
        return False if also is False else None if seen is None else also

    def holds(self, entry: RecordEntry, now: float) -> bool:
        return self.one.holds(entry, now) and self.other.holds(entry, now)


@dataclass(frozen=True, slots=True)
class Either(Where):
    """What one of two conditions holds for, or both."""

    one: Where
    other: Where

    def scan_prefix(self) -> str:
        one, other = self.one.scan_prefix(), self.other.scan_prefix()
        same = next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
        return one[:same]

    def sees(self, key: str, size: int | None, used: float, now: float) -> bool | None:
        seen = self.one.sees(key, size, used, now)
        if seen is True:
            return True
        also = self.other.sees(key, size, used, now)
        return True if also is True else None if seen is None else also

    def holds(self, entry: RecordEntry, now: float) -> bool:
        return self.one.holds(entry, now) or self.other.holds(entry, now)


@dataclass(frozen=True, slots=True)
class Not(Where):
    """What a condition does not hold for."""

    one: Where

    def scan_prefix(self) -> str:
        return ""

    def sees(self, key: str, size: int | None, used: float, now: float) -> bool | None:
        seen = self.one.sees(key, size, used, now)
        return None if seen is None else not seen

    def holds(self, entry: RecordEntry, now: float) -> bool:
        return not self.one.holds(entry, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(Where):
    """The records that fit everything that is given; all of them if nothing is.

    `prefix` is what the key begins with, `glob` a pattern for the whole key, `keys` a set of keys. `task` is the name
    of a task or `module.name`, or a pattern of such. `run` is the id of a task run or flow run. Ages are seconds since
    the record was written, `unused_for` seconds since it was last used; sizes are bytes. Ages and sizes include their
    bound: `older_than=60` holds for what is 60 seconds old.
    """

    prefix: str = ""
    glob: str | None = None
    keys: Collection[str] | None = None
    task: str | None = None
    run: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    unused_for: float | None = None
    larger_than: int | None = None
    smaller_than: int | None = None
    states: Collection[RecordState] | None = None

    def __post_init__(self) -> None:
        for name in ("keys", "states"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, frozenset(given))
        for name in ("older_than", "newer_than", "unused_for", "larger_than", "smaller_than"):
            given = getattr(self, name)
            if given is not None and not given >= 0:
                raise ConfigurationError(f"{name} must be a number, 0 or more; not {given!r}.")

    def scan_prefix(self) -> str:
        return self.prefix

    def sees(self, key: str, size: int | None, used: float, now: float) -> bool | None:
        if not self._fits_key(key) or (self.unused_for is not None and now - used < self.unused_for):
            return False
        sized = self.larger_than is not None or self.smaller_than is not None
        if sized and size is not None and not self._fits_size(size):
            return False
        told = (self.task, self.run, self.older_than, self.newer_than, self.states)
        return None if (sized and size is None) or any(each is not None for each in told) else True

    def holds(self, entry: RecordEntry, now: float) -> bool:
        age = now - entry.created
        return (
            self._fits_key(entry.key)
            and self._fits_size(entry.size)
            and (self.unused_for is None or now - entry.used >= self.unused_for)
            and (self.older_than is None or age >= self.older_than)
            and (self.newer_than is None or age <= self.newer_than)
            and (self.states is None or entry.state in self.states)
            and (self.task is None or _fits_task(self.task, entry))
            and (self.run is None or self.run in (entry.task_run_id, entry.flow_run_id))
        )

    def _fits_key(self, key: str) -> bool:
        return (
            key.startswith(self.prefix)
            and (self.glob is None or fnmatchcase(key, self.glob))
            and (self.keys is None or key in self.keys)
        )

    def _fits_size(self, size: int) -> bool:
        return (
            (0 if self.larger_than is None else self.larger_than)
            <= size
            <= (inf if self.smaller_than is None else self.smaller_than)
        )


def _fits_task(wanted: str, entry: RecordEntry) -> bool:
    if not entry.task_name:
        return False
    return any(name == wanted or fnmatchcase(name, wanted) for name in (entry.task_name, entry.task))


EVERYTHING: Final = Selection()
