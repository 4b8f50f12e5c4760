from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from flowstone.exceptions import DeadlockError
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.space import LockSpace
from flowstone.locking.waiting import Waiting


class Hall:
    """Locks in memory whose waiters are stepped by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.graph = WaitGraph()
        self.space = LockSpace(None, self.graph, lambda: self.now)
        self.waiting: list[Waiting[bool]] = []

    def take(self, key: str, holder: str, hold_for: float | None = None) -> None:
        with pytest.raises(StopIteration):
            next(self.space.acquiring(key, holder, None, hold_for))

    def wait(self, key: str, holder: str) -> Waiting[bool]:
        waiter = self.space.acquiring(key, holder, None, None)
        next(waiter)
        self.waiting.append(waiter)
        return waiter


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    for waiter in hall.waiting:
        with suppress(KeyboardInterrupt, StopIteration):
            waiter.throw(KeyboardInterrupt)
    assert len(hall.graph) == 0


def test_the_message_tells_the_shortest_circle_from_the_refused_one_on(hall: Hall) -> None:
    for key, holder in [("1", "a"), ("2", "b"), ("3", "c")]:
        hall.take(key, holder)
    hall.wait("2", "a")
    hall.wait("3", "b")
    with pytest.raises(DeadlockError) as refusal:
        hall.wait("1", "c")
    told = "'c' waits for '1', held by 'a', 'a' waits for '2', held by 'b', 'b' waits for '3', held by 'c'"
    assert told in str(refusal.value)


def test_waiting_below_a_holder_keeps_the_holder(hall: Hall) -> None:
    hall.take("1", "a")
    hall.take("2", "b")
    hall.wait("2", "a/x/y")
    with pytest.raises(DeadlockError):
        hall.wait("1", "b/z")


def test_waiting_above_a_holder_does_not_keep_it(hall: Hall) -> None:
    hall.take("1", "a/x")
    hall.take("2", "b")
    hall.wait("2", "a")  # a/x itself may go on and release
    hall.wait("1", "b")


def test_waiting_beside_a_holder_does_not_keep_it(hall: Hall) -> None:
    hall.take("1", "a/x")
    hall.take("2", "b")
    hall.wait("2", "a/y")
    hall.wait("1", "b")


def test_one_blocked_holder_of_several_is_enough(hall: Hall) -> None:
    hall.take("1", "a")
    hall.take("1", "a/x")
    hall.take("2", "b")
    hall.wait("2", "a/x")
    with pytest.raises(DeadlockError):
        hall.wait("1", "b")


def test_a_long_chain_is_searched_to_its_end(hall: Hall) -> None:
    length = 2000
    for number in range(length):
        hall.take(str(number), f"h{number}")
    for number in range(length - 1):
        hall.wait(str(number + 1), f"h{number}")
    with pytest.raises(DeadlockError):
        hall.wait("0", f"h{length - 1}")


def test_a_hold_that_becomes_lasting_is_counted(hall: Hall) -> None:
    hall.take("1", "a", hold_for=10)
    hall.take("2", "b")
    first = hall.wait("2", "a/x")
    hall.wait("1", "b/y")
    hall.take("1", "a")  # now for good: b/y has to look again
    with pytest.raises(DeadlockError):
        next(hall.waiting[1])
    hall.waiting.remove(first)
    hall.space.release("2", "b")
    with pytest.raises(StopIteration):
        next(first)


def test_a_guest_waits_for_its_host_too(world: Any, waiting: Any) -> None:
    host, here = world.process(), world.process()
    assert host.acquire_lock("1", "a")
    assert here.acquire_lock("1", "a/b", 0)  # a guest
    assert here.acquire_lock("2", "x")
    other_guest = waiting(here, "2", "a/c")
    with pytest.raises(DeadlockError, match="'a'"):
        here.acquire_lock("1", "x")  # a/b might go, but a stays until a/c is done
    here.release_lock("2", "x")
    assert other_guest.result()
