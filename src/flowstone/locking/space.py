"""Locks for threads and coroutines: the rules of the table, the facts from outside, and the waiting between them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from flowstone.exceptions import LockError
from flowstone.locking.deadlocks import PROCESS_WAITS, WaitGraph
from flowstone.locking.entries import Backing, Entry, Step, Ticket, Watch
from flowstone.locking.holders import within
from flowstone.locking.keeper import Keeper
from flowstone.locking.outside import Outside
from flowstone.locking.table import LockTable
from flowstone.locking.waiting import Pause, Waiting


class LockSpace:
    """One set of named locks: a table for this process and, behind it, what excludes other processes (or nothing)."""

    def __init__(
        self,
        outside: Outside | None = None,
        graph: WaitGraph = PROCESS_WAITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outside = outside
        self.table = LockTable(graph, clock, alone=outside is None)
        self.clock = clock
        self.quick = outside is None or outside.quick
        self._keeper = Keeper(self._tend, "flowstone-lock-lapses")
        self._forgotten: deque[Callable[[], None]] = deque()

    # -- getting in

    def acquiring(
        self, key: str, holder: str, acquire_timeout: float | None, hold_timeout: float | None
    ) -> Waiting[bool]:
        """Acquire a lock; the text of all acquisitions, sync and async."""
        ticket = Ticket(key, holder, hold_timeout)
        try:
            inside = self._advance(ticket, self.table.arrive(ticket)) is Step.INSIDE
            if not inside and acquire_timeout != 0:
                inside = yield from self._waiting_in_line(ticket, acquire_timeout)
            if inside and hold_timeout is not None and not self.table.alone:
                self._keeper.poke()
        except GeneratorExit:
            self._later(lambda: self._withdraw(ticket))
            raise
        except BaseException:
            self._withdraw(ticket)
            raise
        if not inside:
            self._withdraw(ticket)
        return inside

    def _waiting_in_line(self, ticket: Ticket, timeout: float | None) -> Waiting[bool]:
        began = self.clock()
        signal = self.table.linger(ticket)
        while (step := self._advance(ticket, self.table.look(ticket))) is not Step.INSIDE:
            waited = self.clock() - began
            if timeout is not None and waited >= timeout:
                return False
            left = None if timeout is None else timeout - waited
            again = self.outside.pause(waited) if self.outside is not None and step is not Step.WAIT else None
            yield Pause(signal, _least(left, again, self._until_lapse(ticket.entry)))
        return True

    def _advance(self, ticket: Ticket, step: Step) -> Step:
        """Do what a step asks for, and the next; returns INSIDE, or what has to be tried again after a pause."""
        while step is not Step.INSIDE and step is not Step.WAIT:
            if step is Step.CLEAR:
                self.clear(ticket.entry)
            elif not self._ask(ticket, step):
                return step
            step = Step.INSIDE if ticket.inside else self.table.look(ticket)
        return step

    def _ask(self, ticket: Ticket, step: Step) -> bool:
        """Ask outside for the lock; False if it is not to be had. Otherwise the table knows how things stand."""
        outside = self.outside
        if outside is None:
            return False
        backing = (outside.take if step is Step.TAKE else outside.join)(ticket.key, ticket.holder)
        if backing is None:
            return False
        settled = False
        try:
            settled = self.table.settle(ticket, backing)
        finally:
            if not settled:  # a guest came in while this one asked
                outside.drop(ticket.key, backing)
        return True

    def _withdraw(self, ticket: Ticket) -> None:
        self.table.leave(ticket)
        self.clear(ticket.entry)

    def _later(self, leave: Callable[[], None]) -> None:
        """Have the keeper do what a forgotten wait may not do where it is collected."""
        self._forgotten.append(leave)
        with suppress(RuntimeError):  # no thread can be had: whoever tends next does it
            self._keeper.poke()

    def _tend(self) -> float | None:
        while self._forgotten:
            with suppress(LockError):  # as below
                self._forgotten.popleft()()
        return self.forget_lapsed()

    # -- getting out

    def release(self, key: str, holder: str) -> None:
        """Give one acquisition back; raises LockError if `holder` has none, or lost it."""
        emptied = self.table.release(key, holder)
        if emptied is not None and not self.clear(emptied):
            raise LockError(
                f"{holder!r} lost the lock on {key!r} before it gave it back: others may have had it since."
            )

    def discard(self, key: str, holder: str) -> None:
        """Give back all that `holder` has of `key`, if anything."""
        emptied = self.table.discard(key, holder)
        if emptied is not None:
            self.clear(emptied)

    def clear(self, entry: Entry) -> bool:
        """Give the backing of an entry without holds back, if it has one; False if it had been lost."""
        backing = self.table.start_clearing(entry)
        if backing is None:
            return True
        try:
            return self.outside is None or self.outside.drop(entry.key, backing)
        finally:
            self.table.cleared(entry)

    def forget_lapsed(self) -> float | None:
        """Free what has lapsed; returns the seconds until the next hold lapses."""
        stale, moment = self.table.lapsed()
        for entry in stale:
            with suppress(LockError):  # The entry is free here; what could not be told ends outside by itself.
                self.clear(entry)
        return None if moment is None else max(0.0, moment - self.clock())

    def hand_over(self, key: str, holder: str, heir: str) -> None:
        """Give all that `holder` has of `key` to its ancestor `heir`."""
        backing = self.table.backing_held_by(key, holder)
        shown = backing.shown if backing is not None else None
        if self.outside is not None and backing is not None and shown is not None and within(shown, heir):
            self.outside.rename(key, backing, heir)
        self.table.hand_over(key, holder, heir)

    # -- asking

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds `key`."""
        return self.table.is_held(key) or self._seen(key)

    def is_holder(self, key: str, holder: str) -> bool:
        """Say whether `holder` or an ancestor holds `key`, in this process or another."""
        if self.table.backing_of(key, holder) is not None:
            return True
        return self.outside is not None and self.outside.seen_with(key, holder)

    def still_held(self, key: str, holder: str) -> bool:
        """Say whether `holder` or an ancestor holds `key` from this process, and no other process can have it."""
        backing = self.table.backing_of(key, holder)
        return backing is not None and (self.outside is None or self.outside.sound(key, backing))

    def backing_of(self, key: str, holder: str) -> Backing | None:
        """Return what stands behind the lock that `holder` or an ancestor has in this process."""
        return self.table.backing_of(key, holder)

    # -- watching

    def watching(self, key: str, timeout: float | None) -> Waiting[bool]:
        """Wait until `key` is free; the text of all such waits, sync and async."""
        watch = Watch()
        try:
            freed = yield from self._waiting_until_free(key, watch, timeout)
        except GeneratorExit:
            self._later(lambda: self.table.unwatch(key, watch))
            raise
        except BaseException:
            self.table.unwatch(key, watch)
            raise
        self.table.unwatch(key, watch)
        return freed

    def _waiting_until_free(self, key: str, watch: Watch, timeout: float | None) -> Waiting[bool]:
        began = self.clock()
        while not watch.freed:
            entry = self.table.watch(key, watch)
            if entry is None and not self._seen(key):
                return True
            waited = self.clock() - began
            if timeout is not None and waited >= timeout:
                return False
            left = None if timeout is None else timeout - waited
            again = self.outside.pause(waited) if entry is None and self.outside is not None else None
            yield Pause(watch.signal, _least(left, again, self._until_lapse(entry)))
        return True

    def _seen(self, key: str) -> bool:
        return self.outside is not None and self.outside.seen(key)

    def _until_lapse(self, entry: Entry | None) -> float | None:
        moment = self.table.next_lapse(entry) if entry is not None else None
        return None if moment is None else max(0.0, moment - self.clock())


def _least(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
