"""The rules, step by step, with a clock of the test's own."""

from __future__ import annotations

import pytest

from flowstone.exceptions import LockError
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.space import LockSpace
from flowstone.locking.waiting import Pause, Waiting


class Lab:
    def __init__(self) -> None:
        self.now = 0.0
        self.space = LockSpace(None, WaitGraph(), lambda: self.now)
        self.table = self.space.table

    def acquire(self, holder: str, timeout: float | None = 0, hold_for: float | None = None) -> bool | Waiting[bool]:
        waiting = self.space.acquiring("k", holder, timeout, hold_for)
        try:
            next(waiting)
        except StopIteration as end:
            return bool(end.value)
        return waiting


@pytest.fixture
def lab() -> Lab:
    return Lab()


def resume(waiting: object) -> Pause | bool:
    assert not isinstance(waiting, bool)
    try:
        return next(waiting)  # type: ignore[call-overload, no-any-return]
    except StopIteration as end:
        return bool(end.value)


def test_nothing_is_kept_of_a_free_lock(lab: Lab) -> None:
    assert lab.acquire("a") is True
    lab.space.release("k", "a")
    assert lab.table.entries == {}
    assert not lab.space.is_locked("k")
    assert lab.space.is_holder("k", "a") is False
    assert lab.table.entries == {}


def test_nothing_is_kept_of_those_who_gave_up(lab: Lab) -> None:
    assert lab.acquire("a") is True
    assert lab.acquire("b") is False
    late = lab.acquire("c", timeout=1)
    watcher = lab.space.watching("k", 1)
    next(watcher)
    lab.now = 2
    assert resume(late) is False
    assert resume(watcher) is False
    entry = lab.table.entries["k"]
    assert (entry.queue, entry.watches) == ([], [])
    assert len(lab.table.graph) == 0


def test_a_waiter_sleeps_until_its_time_is_up_or_the_hold_lapses(lab: Lab) -> None:
    assert lab.acquire("a", hold_for=5) is True
    waiter = lab.space.acquiring("k", "b", 9, None)
    assert next(waiter).seconds == 5
    impatient = lab.space.acquiring("k", "c", 3, None)
    assert next(impatient).seconds == 3
    lab.now = 5
    assert resume(waiter) is True
    with pytest.raises(KeyboardInterrupt):
        impatient.throw(KeyboardInterrupt)
    assert lab.table.entries["k"].queue == []


def test_a_hold_is_void_from_the_moment_of_its_lapse(lab: Lab) -> None:
    assert lab.acquire("a", hold_for=5) is True
    lab.now = 4.999
    assert lab.space.is_holder("k", "a")
    lab.now = 5
    assert not lab.space.is_holder("k", "a")
    assert not lab.space.is_locked("k")
    with pytest.raises(LockError, match="lapse"):
        lab.space.release("k", "a")
    with pytest.raises(LockError, match="lapse"):
        lab.space.hand_over("k", "a", "a")
    assert lab.table.entries == {}


def test_each_holder_has_a_time_of_its_own(lab: Lab) -> None:
    assert lab.acquire("a", hold_for=5) is True
    assert lab.acquire("a/b", hold_for=9) is True
    lab.now = 6
    assert lab.space.is_holder("k", "a/b")
    assert not lab.space.is_holder("k", "a")
    assert lab.acquire("a") is False  # what was an ancestor's is its descendant's now
    lab.now = 9
    assert lab.acquire("a") is True


def test_what_is_handed_over_lasts_as_long_as_the_longest(lab: Lab) -> None:
    assert lab.acquire("a/b", hold_for=5) is True
    lab.space.hand_over("k", "a/b", "a")
    lab.now = 4
    assert lab.space.is_holder("k", "a")
    assert lab.acquire("a", hold_for=5) is True
    lab.now = 8
    assert lab.space.is_holder("k", "a")
    lab.now = 9
    assert not lab.space.is_holder("k", "a")


def test_a_newcomer_does_not_overtake_one_who_was_called(lab: Lab) -> None:
    assert lab.acquire("a") is True
    first = lab.acquire("b", timeout=None)
    lab.space.release("k", "a")
    assert lab.acquire("c") is False
    second = lab.acquire("c", timeout=None)
    assert resume(first) is True
    lab.space.release("k", "b")
    assert resume(second) is True


def test_the_family_of_the_one_who_gets_in_comes_along(lab: Lab) -> None:
    assert lab.acquire("x") is True
    parent, stranger, child = (lab.acquire(name, timeout=None) for name in ("a", "y", "a/b"))
    lab.space.release("k", "x")
    assert resume(parent) is True
    assert resume(child) is True
    assert isinstance(resume(stranger), Pause)
    lab.space.release("k", "a")
    lab.space.release("k", "a/b")
    assert resume(stranger) is True
