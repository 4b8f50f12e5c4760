"""How much is in a store, and what it is worth."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flowstone.housekeeping.entry import RecordEntry, RecordState
from flowstone.housekeeping.listing import entries_of
from flowstone.housekeeping.selection import EVERYTHING, Where
from flowstone.housekeeping.shelf import Shelf

if TYPE_CHECKING:
    from flowstone.results import ResultStore

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
AGES: Final = (_HOUR, _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY)
"""The ages, in seconds, at which the groups of the histogram end; the last group has no end."""


@dataclass(slots=True)
class Count:
    """So many records with so many bytes, which took so many seconds to compute."""

    records: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def add(self, entry: RecordEntry) -> None:
        self.records += 1
        self.bytes += entry.size
        self.seconds += entry.duration


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What is in a store.

    `total`, `by_task`, `by_age` and the times are those of the records that are whole and signed with one of our keys,
    expired ones too. `by_age` has a group more than there are `AGES`. Times are seconds since the epoch, None in an
    empty store. `by_task` has the largest first; records that no task made are under "".
    """

    total: Count = field(default_factory=Count)
    by_state: dict[RecordState, Count] = field(default_factory=dict)
    by_task: dict[str, Count] = field(default_factory=dict)
    by_age: tuple[Count, ...] = ()
    oldest: float | None = None
    newest: float | None = None
    last_used: float | None = None


def stats(store: ResultStore, where: Where = EVERYTHING, *, now: float | None = None) -> StoreStats:
    """Count the records that `where` holds for, by their heads; reads and raises as `entries` does."""
    shelf = Shelf(store, now)
    total = Count()
    by_state: dict[RecordState, Count] = {}
    by_task: dict[str, Count] = {}
    by_age = tuple(Count() for _ in (*AGES, None))
    created: list[float] = []
    used: list[float] = []
    for entry in entries_of(shelf, where):
        by_state.setdefault(entry.state, Count()).add(entry)
        if not entry.ours:
            continue
        total.add(entry)
        by_task.setdefault(entry.task, Count()).add(entry)
        by_age[bisect_right(AGES, shelf.now - entry.created)].add(entry)
        created = _extremes(created, entry.created)
        used = _extremes(used, entry.used)
    return StoreStats(
        total,
        by_state,
        dict(sorted(by_task.items(), key=lambda item: -item[1].bytes)),
        by_age,
        created[0] if created else None,
        created[-1] if created else None,
        used[-1] if used else None,
    )


def _extremes(known: list[float], value: float) -> list[float]:
    return [min(known[0], value), max(known[-1], value)] if known else [value, value]
