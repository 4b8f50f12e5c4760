"""Comparing what a record holds with what its head says of it, while others may be replacing it."""

from __future__ import annotations

from typing import Final, NamedTuple

from flowstone.clock import current_clock
from flowstone.housekeeping.entry import RecordEntry, RecordState
from flowstone.housekeeping.judging import find_flaw
from flowstone.housekeeping.shelf import Shelf

_PAUSE_SECONDS: Final = 0.05


class Verified(NamedTuple):
    """What is wrong with a record, "" if nothing is, and how many bytes were read to tell."""

    flaw: str
    read: int


def verify(shelf: Shelf, entry: RecordEntry) -> Verified:
    """Compare the payload of a record of ours with its head, in one version; raises OSError if it cannot be read.

    Nothing is wrong with a record that was removed since it was listed.
    """
    head = entry.head
    if head is None:
        return Verified(entry.detail, 0)
    if head.joint:
        return Verified("", entry.size)  # the tag of a small record covers its payload, too
    return _verify_halves(shelf, entry.key) if head.split else _verify_whole(shelf, entry.key)


def _verify_whole(shelf: Shelf, key: str) -> Verified:
    snapshot = shelf.reader.open(key)
    if snapshot is None:
        return Verified("", 0)
    with snapshot:
        verdict = shelf.judge(key, snapshot.beginning())
        if verdict.head is None:  # it was replaced, and not by us
            return Verified(verdict.detail if verdict.state is RecordState.DAMAGED else "", 0)
        return Verified(find_flaw(verdict.head, snapshot, verdict.head.start), snapshot.size)


def _verify_halves(shelf: Shelf, key: str) -> Verified:
    """Compare a payload that is kept apart.

    A writer replaces the payload first and then the head; in between they do not fit. So what does not fit is looked
    at again, after a pause, until nobody has replaced anything since the last look.
    """
    before: tuple[object, ...] = ()
    read = 0
    while True:
        found = shelf.look(key)
        if found is None or found[0].head is None or shelf.payloads is None or shelf.payload_reader is None:
            return Verified("", read)
        now = (found[0].head.tag, shelf.payloads.stamp(key))
        snapshot = shelf.payload_reader.open(key)
        if snapshot is None:
            flaw = "its payload is missing"
        else:
            with snapshot:
                flaw = find_flaw(found[0].head, snapshot, 0)
                read += snapshot.size
        if not flaw or now == before:
            return Verified(flaw, read)
        before = now
        current_clock().sleep(_PAUSE_SECONDS)
