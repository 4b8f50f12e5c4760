"""What is in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowstone.housekeeping.entry import RecordEntry
from flowstone.housekeeping.selection import EVERYTHING, Where
from flowstone.housekeeping.shelf import Shelf

if TYPE_CHECKING:
    from flowstone.results import ResultStore


def entries(store: ResultStore, where: Where = EVERYTHING, *, now: float | None = None) -> Iterator[RecordEntry]:
    """Yield an entry for each record that `where` holds for, in no order.

    Reads heads only and no more of them than it must, deserialises nothing, and does not count as use. Safe while
    others read and write: what comes or goes meanwhile may be there or not. Expiry is told by `now`, in seconds since
    the epoch. Raises StoreError if the store cannot be listed; a record that cannot be read is UNREADABLE.
    """
    return entries_of(Shelf(store, now), where)


def entries_of(shelf: Shelf, where: Where) -> Iterator[RecordEntry]:
    now = shelf.now
    split = shelf.payloads is not None
    for listed in shelf.heads.scan(where.scan_prefix()):
        if where.sees(listed.key, None if split else listed.size, listed.used, now) is False:
            continue
        entry = shelf.entry(listed)
        if entry is not None and where.holds(entry, now):
            yield entry


def find(store: ResultStore, key: str, *, now: float | None = None) -> RecordEntry | None:
    """Return the entry of the record under `key`, or None if there is nothing.

    Raises StoreError if the store cannot be asked, KeyPathError if `key` cannot be one.
    """
    return Shelf(store, now).find(key)
