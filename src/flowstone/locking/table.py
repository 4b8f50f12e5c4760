"""Who holds what in this process, and who is next: the rules of the locks, without waiting and without I/O."""

from __future__ import annotations

from collections.abc import Callable

from flowstone.exceptions import LockError
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.entries import HERE, Backing, Entry, Hold, Step, Ticket, Watch
from flowstone.locking.forks import after_fork
from flowstone.locking.waiting import Signal


class LockTable:
    """The locks of one lock space in this process. Every method is atomic under the graph's mutex.

    `alone` says that nothing stands behind this table: what is free here is free. Otherwise the first in line asks
    outside, between two calls and without the mutex, and comes back with `settle`.
    """

    def __init__(self, graph: WaitGraph, clock: Callable[[], float], *, alone: bool) -> None:
        self.graph = graph
        self.clock = clock
        self.alone = alone
        self.entries: dict[str, Entry] = {}
        after_fork(self, LockTable.forget)

    def forget(self) -> None:
        self.entries = {}

    # -- getting in

    def arrive(self, ticket: Ticket) -> Step:
        """Let `ticket` in if it may enter at once, else put it in line."""
        with self.graph.mutex:
            entry = self.entries.get(ticket.key)
            if entry is None:
                entry = self.entries[ticket.key] = Entry(ticket.key)
            ticket.entry = entry
            entry.queue.append(ticket)
            return self._next_step(ticket)

    def look(self, ticket: Ticket) -> Step:
        """Return what `ticket` has to do now; raises DeadlockError if its wait would never end."""
        with self.graph.mutex:
            step = self._next_step(ticket)
            if step is Step.WAIT and ticket.signal is not None:
                self.graph.refuse_circle(ticket)
            return step

    def linger(self, ticket: Ticket) -> Signal:
        """Note that `ticket` is going to wait, for a signal from now on, and so may block others."""
        signal = Signal()
        with self.graph.mutex:
            ticket.signal = signal
            if not ticket.inside:
                self.graph.add(ticket)
        return signal

    def settle(self, ticket: Ticket, backing: Backing) -> bool:
        """Let `ticket` in with the backing that it got outside; False if another came in by then, so give it back."""
        with self.graph.mutex:
            entry = ticket.entry
            if entry.backing is not None or ticket.inside:
                return False
            entry.backing = backing
            self._admit(ticket)
            self._admit_family(entry)
            return True

    def leave(self, ticket: Ticket) -> None:
        """Take back a request: out of the line, or out of the lock if it was let in meanwhile."""
        with self.graph.mutex:
            entry = ticket.entry
            self._forget_ticket(ticket)
            if ticket.inside:
                self._count_down(entry, ticket.holder, 1)
            else:
                self._call_next(entry)

    def _next_step(self, ticket: Ticket) -> Step:
        if ticket.inside:
            return Step.INSIDE
        entry = ticket.entry
        self._forget_lapsed(entry)
        if entry.holds:
            if not entry.lets_in(ticket.holder):
                return Step.WAIT
            self._admit(ticket)
            return Step.INSIDE
        if entry.clearing:
            return Step.WAIT
        if entry.backing is not None:
            return Step.CLEAR
        if entry.queue[0] is not ticket:
            # It asks outside when it comes, and again while it waits if an ancestor may have got the lock since.
            asks = not self.alone and (ticket.signal is None or "/" in ticket.holder)
            return Step.JOIN if asks else Step.WAIT
        if not self.alone:
            return Step.TAKE
        entry.backing = HERE
        self._admit(ticket)
        self._admit_family(entry)
        return Step.INSIDE

    def _admit(self, ticket: Ticket) -> None:
        entry = ticket.entry
        self._forget_ticket(ticket)
        ticket.inside = True
        lapse = None if ticket.hold_for is None else self.clock() + ticket.hold_for
        self._hold(entry, ticket.holder, 1, lapse)

    def _forget_ticket(self, ticket: Ticket) -> None:
        if ticket in ticket.entry.queue:
            ticket.entry.queue.remove(ticket)
        if ticket.signal is not None:
            self.graph.remove(ticket)

    def _admit_family(self, entry: Entry) -> None:
        for ticket in list(entry.queue):
            if entry.lets_in(ticket.holder):
                if ticket.wake():
                    self._admit(ticket)
                else:
                    self._forget_ticket(ticket)

    def _hold(self, entry: Entry, holder: str, count: int, lapse: float | None) -> None:
        hold = entry.holds.get(holder)
        if hold is None:
            entry.holds[holder] = Hold(count, lapse)
        else:
            hold.add(count, lapse)
        entry.lapsing = entry.lapsing or lapse is not None
        if entry.queue and self.graph.waiting_within(holder):
            # The new owner's family waits elsewhere, so those in line here may now be part of a circle.
            for other in entry.queue:
                other.wake()

    # -- getting out

    def release(self, key: str, holder: str) -> Entry | None:
        """Give one acquisition back; returns the entry if its backing is to be given back now.

        Raises LockError if `holder` holds nothing.
        """
        with self.graph.mutex:
            entry = self._held(key, holder)[0]
            self._count_down(entry, holder, 1)
            return entry if entry.backing is not None and not entry.holds else None

    def discard(self, key: str, holder: str) -> Entry | None:
        """Give back all that `holder` has of `key`, if anything; returns what `release` does.

        A release that was interrupted halfway is finished by this.
        """
        with self.graph.mutex:
            entry = self.entries.get(key)
            if entry is None:
                return None
            if holder in entry.holds:
                self._count_down(entry, holder, entry.holds[holder].count)
            self._call_next(entry)
            return entry if entry.backing is not None and not entry.holds else None

    def start_clearing(self, entry: Entry) -> Backing | None:
        """Return the backing that the caller has to give back, before it calls `cleared`; None if another does it."""
        with self.graph.mutex:
            if entry.clearing or entry.holds or entry.backing is None:
                return None
            entry.clearing = True
            return entry.backing

    def cleared(self, entry: Entry) -> None:
        """Note that the backing has been given back."""
        with self.graph.mutex:
            entry.clearing = False
            self._vacate(entry)

    def _held(self, key: str, holder: str) -> tuple[Entry, Hold]:
        entry = self.entries.get(key)
        if entry is not None:
            self._forget_lapsed(entry)
        hold = entry.holds.get(holder) if entry else None
        if entry is None or hold is None:
            raise LockError(
                f"{holder!r} does not hold the lock on {key!r}: it never did, gave it back, or let it lapse."
            )
        return entry, hold

    def _count_down(self, entry: Entry, holder: str, count: int) -> None:
        hold = entry.holds.get(holder)
        if hold is None:
            return
        hold.count -= count
        if hold.count <= 0:
            del entry.holds[holder]
        if not entry.holds and self.alone:
            self._vacate(entry)

    def _forget_lapsed(self, entry: Entry) -> None:
        if not entry.lapsing:
            return
        now = self.clock()
        for holder, hold in list(entry.holds.items()):
            if hold.lapse is not None and hold.lapse <= now:
                del entry.holds[holder]
        entry.lapsing = entry.next_lapse() is not None
        if not entry.holds and self.alone:
            self._vacate(entry)

    def _vacate(self, entry: Entry) -> None:
        entry.backing = None
        entry.lapsing = False
        for watch in entry.watches:
            watch.freed = True
            watch.signal.set()
        entry.watches.clear()
        self._call_next(entry)

    def _call_next(self, entry: Entry) -> None:
        if not entry.holds:
            while entry.queue and not entry.queue[0].wake():
                self._forget_ticket(entry.queue[0])
            if not self.alone:
                for ticket in entry.queue:
                    if "/" in ticket.holder:  # it asks outside for an ancestor while nobody here is inside
                        ticket.wake()
        if entry.idle and self.entries.get(entry.key) is entry:
            del self.entries[entry.key]

    # -- handing over

    def hand_over(self, key: str, holder: str, heir: str) -> None:
        """Give all that `holder` has of `key` to its ancestor `heir`; the heir's family may come in."""
        with self.graph.mutex:
            entry, hold = self._held(key, holder)
            del entry.holds[holder]
            self._hold(entry, heir, hold.count, hold.lapse)
            self._admit_family(entry)

    # -- asking

    def backing_of(self, key: str, holder: str) -> Backing | None:
        """Return the backing of the lock on `key` if `holder` or an ancestor holds it in this process."""
        with self.graph.mutex:
            entry = self.entries.get(key)
            if entry is None:
                return None
            self._forget_lapsed(entry)
            return entry.backing if entry.lets_in(holder) else None

    def backing_held_by(self, key: str, holder: str) -> Backing | None:
        """Return the backing of the lock on `key`; raises LockError if `holder` itself does not hold it."""
        with self.graph.mutex:
            return self._held(key, holder)[0].backing

    def is_held(self, key: str) -> bool:
        """Whether anybody in this process holds the lock on `key`."""
        with self.graph.mutex:
            entry = self.entries.get(key)
            if entry is None:
                return False
            self._forget_lapsed(entry)
            return bool(entry.holds)

    def next_lapse(self, entry: Entry) -> float | None:
        """Return when the next hold on `entry` lapses."""
        with self.graph.mutex:
            return entry.next_lapse() if entry.lapsing else None

    def lapsed(self) -> tuple[list[Entry], float | None]:
        """Return the entries whose last hold has lapsed, and when the next hold lapses."""
        with self.graph.mutex:
            lapsing = [entry for entry in self.entries.values() if entry.lapsing]
            for entry in lapsing:
                self._forget_lapsed(entry)
            stale = [entry for entry in self.entries.values() if entry.backing and not entry.holds]
            moments = [moment for entry in lapsing if (moment := entry.next_lapse()) is not None]
            return stale, min(moments, default=None)

    # -- watching

    def watch(self, key: str, watch: Watch) -> Entry | None:
        """Have `watch` told when the lock on `key` is free next; returns None if nobody here holds it now."""
        with self.graph.mutex:
            entry = self.entries.get(key)
            if entry is not None:
                self._forget_lapsed(entry)
            if entry is None or not entry.holds:
                return None
            if watch not in entry.watches:
                entry.watches.append(watch)
            return entry

    def unwatch(self, key: str, watch: Watch) -> None:
        """Forget `watch`."""
        with self.graph.mutex:
            entry = self.entries.get(key)
            if entry is not None and watch in entry.watches:
                entry.watches.remove(watch)
                self._call_next(entry)
