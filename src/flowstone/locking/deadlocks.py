"""Who waits for whom in this process, so that a wait without end is refused rather than begun."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from flowstone.exceptions import DeadlockError
from flowstone.locking.forks import after_fork
from flowstone.locking.holders import root, within

if TYPE_CHECKING:
    from flowstone.locking.entries import Ticket


class Link:
    """One step of a circle: `waiter` waits for `key`, which `owner` holds."""

    __slots__ = ("key", "owner", "waiter")

    def __init__(self, waiter: str, key: str, owner: str) -> None:
        self.waiter = waiter
        self.key = key
        self.owner = owner

    def __str__(self) -> str:
        return f"{self.waiter!r} waits for {self.key!r}, held by {self.owner!r}"


class WaitGraph:
    """The waiters of all lock tables that share it, and the mutex that guards those tables.

    One mutex for all of them gives the search for circles a consistent view: with one for each, two waiters could
    begin at once and neither see the other. It is held for a microsecond at a time and never over I/O.

    A holder is taken to keep what it has until all of its descendants are done, as transactions do. So a lock is
    blocked by every waiter below its owner. A hold that lapses by itself blocks nobody for ever and is no edge.
    """

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self._waiting: dict[str, dict[Ticket, None]] = {}
        after_fork(self, WaitGraph.forget)

    def forget(self) -> None:
        self.mutex = threading.Lock()
        self._waiting = {}

    def add(self, ticket: Ticket) -> None:
        """Note that `ticket` waits. Call with the mutex held, as all methods here."""
        self._waiting.setdefault(root(ticket.holder), {})[ticket] = None

    def remove(self, ticket: Ticket) -> None:
        """Note that `ticket` waits no more; nothing happens if it did not."""
        tree = root(ticket.holder)
        family = self._waiting.get(tree)
        if family is not None:
            family.pop(ticket, None)
            if not family:
                del self._waiting[tree]

    def waiting_within(self, holder: str) -> list[Ticket]:
        """Return those who wait in the name of `holder` or of a descendant."""
        return [ticket for ticket in self._waiting.get(root(holder), ()) if within(ticket.holder, holder)]

    def refuse_circle(self, ticket: Ticket) -> None:
        """Raise DeadlockError if those that `ticket` waits for wait, in the end, for its own tree."""
        circle = self._circle(ticket)
        if circle:
            raise DeadlockError(
                f"Waiting for the lock on {ticket.key!r} would never end: "
                + ", ".join(str(link) for link in circle)
                + ". Take these locks in the same order everywhere, or in one transaction."
            )

    def _circle(self, start: Ticket) -> list[Link]:
        """Search breadth first, so that the shortest circle is the one that is told."""
        seen = {start}
        ahead: deque[tuple[Ticket, list[Link]]] = deque([(start, [])])
        while ahead:
            ticket, way = ahead.popleft()
            for owner in ticket.entry.lasting_owners():
                further = [*way, Link(ticket.holder, ticket.key, owner)]
                if within(start.holder, owner):
                    return further
                fresh = [blocked for blocked in self.waiting_within(owner) if blocked not in seen]
                seen.update(fresh)
                ahead.extend((blocked, further) for blocked in fresh)
        return []

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))


PROCESS_WAITS: Final = WaitGraph()
"""The waiters of this process."""
