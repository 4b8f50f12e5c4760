"""Lock spaces against a small model: two processes, or one, whose every move is made by hand.

No thread and no time of its own is in it: waiters are generators that the machine resumes, the clock is a number.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowstone.exceptions import DeadlockError, LockError
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.filesystem import DoorFiles
from flowstone.locking.outside import Outside
from flowstone.locking.space import LockSpace

HOLDERS = ["a", "a/b", "a/b/c", "a/d", "e"]
KEYS = ["k1", "k2"]
PLACES = [(process, key) for process in (0, 1) for key in KEYS]


def family(holder: str) -> list[str]:
    parts = holder.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]


class Waiter:
    """One who waits: what the model knows, and the generator that really does."""

    def __init__(self, place: tuple[int, str], holder: str, hold_for: int | None) -> None:
        self.place = place
        self.holder = holder
        self.hold_for = hold_for
        self.admitted = False
        self.generator: Any = None


class Local:
    """What one process knows of one key."""

    def __init__(self) -> None:
        self.holds: dict[str, tuple[int, float | None]] = {}
        self.host: str | None = None
        self.line: list[Waiter] = []

    def lets_in(self, holder: str) -> bool:
        return bool(self.holds) and any(name in self.holds or name == self.host for name in family(holder))


class Model:
    """The rules, told once more and without care for speed."""

    def __init__(self) -> None:
        self.now = 0
        self.locals = {place: Local() for place in PLACES}
        self.owners: dict[str, tuple[int, str]] = {}  # which process has the key, and whom it shows
        self.freed: dict[tuple[int, str], int] = dict.fromkeys(PLACES, 0)

    def hold(self, place: tuple[int, str], holder: str, count: int, lapse: float | None) -> None:
        local = self.locals[place]
        if holder in local.holds:
            old_count, old_lapse = local.holds[holder]
            lapse = None if lapse is None or old_lapse is None else max(lapse, old_lapse)
            count += old_count
        local.holds[holder] = (count, lapse)

    def admit(self, waiter: Waiter) -> None:
        waiter.admitted = True
        self.locals[waiter.place].line.remove(waiter)
        self.hold(waiter.place, waiter.holder, 1, None if waiter.hold_for is None else self.now + waiter.hold_for)

    def admit_family(self, place: tuple[int, str]) -> None:
        local = self.locals[place]
        for waiter in list(local.line):
            if local.lets_in(waiter.holder):
                self.admit(waiter)

    def attempt(self, waiter: Waiter, *, fresh: bool) -> None:
        """Let a waiter in if it may come in now."""
        local = self.locals[waiter.place]
        process, key = waiter.place
        if waiter.admitted:
            return
        if local.holds:
            if local.lets_in(waiter.holder):
                self.admit(waiter)
            return
        first = local.line[0] is waiter
        owner = self.owners.get(key)
        if owner is None:
            if not first:
                return
            self.owners[key] = (process, waiter.holder)
            local.host = None
        elif owner[1] in family(waiter.holder) and (first or fresh or "/" in waiter.holder):
            assert owner[0] != process
            local.host = owner[1]
        else:
            return
        self.admit(waiter)
        self.admit_family(waiter.place)

    def left(self, place: tuple[int, str]) -> None:
        """Free the lock in a process whose last hold is gone."""
        process, key = place
        local = self.locals[place]
        if not local.holds:
            local.host = None
            self.freed[place] += 1
            if self.owners.get(key, (None, ""))[0] == process:
                del self.owners[key]

    def tick(self, seconds: int) -> None:
        self.now += seconds
        for place, local in self.locals.items():
            if local.holds:
                local.holds = {
                    h: (c, lapse) for h, (c, lapse) in local.holds.items() if lapse is None or lapse > self.now
                }
                self.left(place)

    def lasting(self, place: tuple[int, str]) -> list[str]:
        local = self.locals[place]
        owners = [holder for holder, (_, lapse) in local.holds.items() if lapse is None]
        return [*owners, local.host] if owners and local.host else owners

    def is_circle(self, waiter: Waiter) -> bool:
        """Whether a waiter's own tree is among those that it waits for in the end."""
        all_waiters = [w for (p, _), local in self.locals.items() if p == waiter.place[0] for w in local.line]
        reached = [waiter]
        for current in reached:
            for owner in self.lasting(current.place):
                if owner in family(waiter.holder):
                    return True
                reached += [w for w in all_waiters if owner in family(w.holder) and w not in reached]
        return False

    def seen_from(self, process: int, key: str) -> str | None:
        """Whom another process shows as the owner of a key."""
        owner = self.owners.get(key)
        return owner[1] if owner and owner[0] != process else None

    def is_held_by(self, place: tuple[int, str], holder: str) -> bool:
        return self.locals[place].lets_in(holder) or self.seen_from(*place) in family(holder)

    def is_still_held_by(self, place: tuple[int, str], holder: str) -> bool:
        local = self.locals[place]
        return local.lets_in(holder) and (local.host is None or self.seen_from(*place) == local.host)


class Machine(RuleBasedStateMachine):
    processes = [0, 1]

    def make_outsides(self) -> list[Outside | None]:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.spaces: list[LockSpace] = []
        for outside in self.make_outsides():
            space = LockSpace(outside, WaitGraph(), lambda: self.model.now)
            space._keeper.poke = lambda **_: None  # type: ignore[method-assign]
            self.spaces.append(space)
        self.waiters: list[Waiter] = []
        self.watchers: list[tuple[tuple[int, str], int, Any]] = []

    def where(self, process: int, key: str) -> tuple[tuple[int, str], LockSpace]:
        process %= len(self.spaces)
        return (process, key), self.spaces[process]

    # -- moves

    @rule(
        process=st.integers(0, 1),
        key=st.sampled_from(KEYS),
        holder=st.sampled_from(HOLDERS),
        hold_for=st.sampled_from([None, None, 1, 3]),
        patient=st.booleans(),
    )
    def acquire(self, process: int, key: str, holder: str, hold_for: int | None, patient: bool) -> None:
        place, space = self.where(process, key)
        waiter = Waiter(place, holder, hold_for)
        self.model.locals[place].line.append(waiter)
        self.model.attempt(waiter, fresh=True)
        waiter.generator = space.acquiring(key, holder, None if patient else 0, hold_for)
        if patient:
            self.resume_and_compare(waiter)
        else:
            if not waiter.admitted:
                self.model.locals[place].line.remove(waiter)
            assert outcome(waiter.generator) is waiter.admitted

    def resume_and_compare(self, waiter: Waiter) -> None:
        line = self.model.locals[waiter.place].line
        if waiter.admitted:
            assert outcome(waiter.generator) is True
        elif self.model.locals[waiter.place].holds and self.model.is_circle(waiter):
            line.remove(waiter)
            assert outcome(waiter.generator) is DeadlockError
        else:
            assert outcome(waiter.generator) is None
            if waiter not in self.waiters:
                self.waiters.append(waiter)
            return
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def wake_a_waiter(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiters))
        self.model.attempt(waiter, fresh=False)
        self.resume_and_compare(waiter)

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def interrupt_a_waiter(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiters))
        self.waiters.remove(waiter)
        if waiter.admitted:
            self.take_back(waiter.place, waiter.holder, 1)
        else:
            self.model.locals[waiter.place].line.remove(waiter)
        interrupt(waiter.generator)

    def draw_holder(self, data: st.DataObject) -> tuple[tuple[int, str], LockSpace, str]:
        """Draw a place and a holder; mostly one that holds something there, so that moves have an effect."""
        holding = [(place, holder) for place, local in self.model.locals.items() for holder in local.holds]
        if holding and data.draw(st.integers(0, 5)):
            place, holder = data.draw(st.sampled_from(holding))
        else:
            place, holder = data.draw(st.sampled_from(PLACES)), data.draw(st.sampled_from(HOLDERS))
        place, space = self.where(*place)
        return place, space, holder

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        place, space, holder = self.draw_holder(data)
        if holder in self.model.locals[place].holds:
            self.take_back(place, holder, 1)
            space.release(place[1], holder)
        else:
            with pytest.raises(LockError):
                space.release(place[1], holder)

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        place, space, holder = self.draw_holder(data)
        if holder in self.model.locals[place].holds:
            self.take_back(place, holder, self.model.locals[place].holds[holder][0])
        space.discard(place[1], holder)

    def take_back(self, place: tuple[int, str], holder: str, count: int) -> None:
        holds = self.model.locals[place].holds
        if holder not in holds:  # it lapsed
            return
        had, lapse = holds.pop(holder)
        if had > count:
            holds[holder] = (had - count, lapse)
        self.model.left(place)

    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        place, space, holder = self.draw_holder(data)
        key = place[1]
        heir = data.draw(st.sampled_from(family(holder)))
        local = self.model.locals[place]
        if holder not in local.holds:
            with pytest.raises(LockError):
                space.hand_over(key, holder, heir)
            return
        count, lapse = local.holds.pop(holder)
        self.model.hold(place, heir, count, lapse)
        owner = self.model.owners.get(key)
        if local.host is None and owner and heir in family(owner[1]):
            self.model.owners[key] = (place[0], heir)
        self.model.admit_family(place)
        space.hand_over(key, holder, heir)

    @rule(seconds=st.integers(1, 2))
    def let_time_pass(self, seconds: int) -> None:
        self.model.tick(seconds)
        for space in self.spaces:
            space.forget_lapsed()

    @rule(process=st.integers(0, 1), key=st.sampled_from(KEYS))
    def watch(self, process: int, key: str) -> None:
        place, space = self.where(process, key)
        watcher = space.watching(key, None)
        if not self.is_locked(place):
            assert outcome(watcher) is True
        else:
            assert outcome(watcher) is None
            # Only what was held here then tells of its end; the end elsewhere has to be seen.
            told = self.model.freed[place] if self.model.locals[place].holds else sys.maxsize
            self.watchers.append((place, told, watcher))

    @precondition(lambda self: self.watchers)
    @rule(data=st.data())
    def wake_a_watcher(self, data: st.DataObject) -> None:
        place, told, watcher = self.watchers.pop(data.draw(st.integers(0, len(self.watchers) - 1)))
        if self.model.freed[place] > told or not self.is_locked(place):
            assert outcome(watcher) is True
        else:
            assert outcome(watcher) is None
            interrupt(watcher)

    # -- what must be so after every move

    def is_locked(self, place: tuple[int, str]) -> bool:
        return bool(self.model.locals[place].holds) or self.model.seen_from(*place) is not None

    @invariant()
    def all_questions_have_the_answers_of_the_model(self) -> None:
        for place in PLACES:
            process, key = place
            if process < len(self.spaces):
                space = self.spaces[process]
                assert space.is_locked(key) == self.is_locked(place)
                for holder in HOLDERS:
                    assert space.is_holder(key, holder) == self.model.is_held_by(place, holder), holder
                    assert space.still_held(key, holder) == self.model.is_still_held_by(place, holder), holder

    @invariant()
    def one_process_has_a_key(self) -> None:
        for key in KEYS:
            owning = [p for p in range(len(self.spaces)) if self.has_own_backing(p, key)]
            assert len(owning) <= 1
            assert owning == [self.model.owners[key][0]] if key in self.model.owners else not owning

    def has_own_backing(self, process: int, key: str) -> bool:
        entry = self.spaces[process].table.entries.get(key)
        return entry is not None and entry.backing is not None and entry.backing.host is None

    def teardown(self) -> None:
        for waiter in self.waiters:
            interrupt(waiter.generator)
        for _, _, watcher in self.watchers:
            interrupt(watcher)
        for space in self.spaces:
            for key in KEYS:
                for holder in HOLDERS:
                    space.discard(key, holder)
            assert space.table.entries == {}
            assert len(space.table.graph) == 0
        assert not any(space.is_locked(key) for space in self.spaces for key in KEYS)


def outcome(waiting: Any) -> object:
    """Resume a wait: True or False if it ended so, None if it waits on, DeadlockError if it was refused."""
    try:
        next(waiting)
    except StopIteration as end:
        return end.value
    except DeadlockError:
        return DeadlockError
    return None


def interrupt(waiting: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        waiting.throw(KeyboardInterrupt)


class InMemory(Machine):
    def make_outsides(self) -> list[Outside | None]:
        return [None]


class InFiles(Machine):
    def make_outsides(self) -> list[Outside | None]:
        self.folder = tempfile.mkdtemp()
        return [DoorFiles(self.folder), DoorFiles(self.folder)]

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class InFilesThatVanish(InFiles):
    """The same with the lock files removed whenever nobody holds anything."""

    @precondition(lambda self: not self.model.owners)
    @rule()
    def remove_the_files(self) -> None:
        shutil.rmtree(self.folder)
        os.makedirs(self.folder)


TestMemory = InMemory.TestCase
TestFiles = InFiles.TestCase
TestFilesThatVanish = InFilesThatVanish.TestCase
