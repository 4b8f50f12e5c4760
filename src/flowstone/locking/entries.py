"""What a lock table is made of: the lock on a key, those who hold it, those who wait for it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from flowstone.locking.holders import lineage
from flowstone.locking.waiting import Signal


class Backing:
    """What stands behind a held lock outside of this process, or HERE if nothing does.

    `shown` is the holder that other processes see as the owner. A guest shows none; it has a `host` instead, the
    ancestor in another process that holds the lock, whose family may enter.
    """

    __slots__ = ("host", "shown")

    def __init__(self, *, shown: str | None = None, host: str | None = None) -> None:
        self.shown = shown
        self.host = host


HERE: Final = Backing()


class Step(Enum):
    """What a ticket has to do next."""

    INSIDE = auto()  # nothing: it holds the lock
    TAKE = auto()  # it is first in line and the lock is free in this process: ask outside
    JOIN = auto()  # it is not first, but may ask outside whether an ancestor holds the lock there
    CLEAR = auto()  # the last hold lapsed: give the backing back
    WAIT = auto()


class Hold:
    """`count` acquisitions of one holder, void from the moment `lapse` on (by the table's clock; None is never)."""

    __slots__ = ("count", "lapse")

    def __init__(self, count: int, lapse: float | None) -> None:
        self.count = count
        self.lapse = lapse

    def add(self, count: int, lapse: float | None) -> None:
        """Count more acquisitions; the hold lasts as long as the longest of them."""
        self.count += count
        self.lapse = None if lapse is None or self.lapse is None else max(lapse, self.lapse)


class Ticket:
    """One request for a lock. `hold_for` is in seconds, None for as long as it takes."""

    __slots__ = ("entry", "hold_for", "holder", "inside", "key", "signal")

    def __init__(self, key: str, holder: str, hold_for: float | None) -> None:
        self.entry = NOWHERE
        self.key = key
        self.holder = holder
        self.hold_for = hold_for
        self.inside = False
        self.signal: Signal | None = None  # set when it begins to wait: most never do

    def wake(self) -> bool:
        """Have it look again; False if it never will."""
        return self.signal is None or self.signal.set()


class Watch:
    """One who waits until a lock is free, without wanting it."""

    __slots__ = ("freed", "signal")

    def __init__(self) -> None:
        self.signal = Signal()
        self.freed = False


class Entry:
    """The lock on one key, as long as anybody holds it, wants it or watches it.

    Free here: no holds, no backing. Lapsed or left: no holds, but a backing that is yet to be given back.
    """

    __slots__ = ("backing", "clearing", "holds", "key", "lapsing", "queue", "watches")

    def __init__(self, key: str) -> None:
        self.key = key
        self.holds: dict[str, Hold] = {}
        self.backing: Backing | None = None
        self.clearing = False
        self.lapsing = False
        self.queue: list[Ticket] = []
        self.watches: list[Watch] = []

    @property
    def idle(self) -> bool:
        return not (self.holds or self.queue or self.watches or self.backing)

    def lets_in(self, holder: str) -> bool:
        """Whether `holder` or an ancestor holds this lock."""
        if not self.holds:
            return False
        host = self.backing.host if self.backing else None
        return any(name in self.holds or name == host for name in lineage(holder))

    def lasting_owners(self) -> list[str]:
        """Return those who keep this lock until they are done."""
        owners = [holder for holder, hold in self.holds.items() if hold.lapse is None]
        if owners and self.backing and self.backing.host:
            owners.append(self.backing.host)
        return owners

    def next_lapse(self) -> float | None:
        """Return when the next hold lapses."""
        return min((hold.lapse for hold in self.holds.values() if hold.lapse is not None), default=None)


NOWHERE: Final = Entry("")
"""Where a ticket is that has not arrived."""
