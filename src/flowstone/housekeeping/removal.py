"""Removing records that were judged a while ago, while others read and write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from flowstone.exceptions import LockError, StoreError
from flowstone.housekeeping.entry import RecordEntry
from flowstone.housekeeping.shelf import Shelf

if TYPE_CHECKING:
    from flowstone.results import ResultStore


class Because(Enum):
    """Why a record is to go."""

    CHOSEN = "chosen"
    EXPIRED = "expired"
    AGE = "too old"
    UNUSED = "not used for long"
    BUDGET = "over the budget"
    FAULT = "cannot be right"


class Outcome(Enum):
    """What became of it."""

    REMOVED = "removed"
    PLANNED = "would be removed"
    IN_USE = "in use"
    CHANGED = "changed meanwhile"
    GONE = "gone already"
    FAILED = "could not be removed"


class Victim(NamedTuple):
    """A version of a record that is to go, and what was known of it when that was decided."""

    key: str
    size: int
    version: bytes
    because: Because
    task: str = ""
    created: float = 0.0
    used: float = 0.0
    duration: float = 0.0

    @classmethod
    def of(cls, entry: RecordEntry, because: Because) -> Victim:
        return cls(entry.key, entry.size, entry.version, because, entry.task, entry.created, entry.used, entry.duration)


class Removal(NamedTuple):
    """What became of a victim, and why if it was not removed."""

    victim: Victim
    outcome: Outcome
    detail: str = ""


def remove(store: ResultStore, victims: Iterable[Victim]) -> Iterator[Removal]:
    """Remove each victim as the iterator is run through, and say what became of it.

    A record is in use while somebody holds the lock on its key: he is computing it or about to read it. Those stay.
    So does what is not the version that was judged. A reader who has the record open or mapped keeps what he has.
    """
    shelf = Shelf(store)
    for victim in victims:
        yield remove_one(shelf, victim)
    shelf.flush()


def remove_one(shelf: Shelf, victim: Victim) -> Removal:
    try:
        with shelf.lock(victim.key) as mine:
            if not mine:
                return Removal(victim, Outcome.IN_USE, "somebody holds the lock on its key")
            return Removal(victim, _remove_locked(shelf, victim))
    except (StoreError, LockError) as error:
        return Removal(victim, Outcome.FAILED, str(error))


def _remove_locked(shelf: Shelf, victim: Victim) -> Outcome:
    """Remove the very version that was judged.

    Writers without a lock (READ_COMMITTED) can still come between the last look and the removal. Theirs is then the
    one removed, and the next look-up a miss; never a wrong value.
    """
    stamp = shelf.heads.stamp(victim.key)
    if stamp is None:
        return Outcome.GONE
    version = shelf.version_at(victim.key)
    if version is None:
        return Outcome.GONE
    if version != victim.version or shelf.heads.stamp(victim.key) != stamp:
        return Outcome.CHANGED
    return Outcome.REMOVED if shelf.store.remove(victim.key) else Outcome.GONE
