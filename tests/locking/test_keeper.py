from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from flowstone.locking.keeper import Keeper

Eventually = Callable[..., bool]


class Chores:
    def __init__(self, *delays: float | None) -> None:
        self.delays = list(delays)
        self.done = 0
        self.under_way = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def tend(self) -> float | None:
        self.under_way.set()
        self.go_on.wait(5)
        self.done += 1
        return self.delays.pop(0) if self.delays else None


def running(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


def test_it_comes_again_until_nothing_is_due_and_then_goes(eventually: Eventually) -> None:
    chores = Chores(0.001, 0.001, None)
    keeper = Keeper(chores.tend, "test-keeper-1")
    assert not running("test-keeper-1")
    keeper.poke()
    assert eventually(lambda: not running("test-keeper-1"))
    assert chores.done == 3


def test_a_poke_in_a_hurry_does_not_wait_for_the_next_time(eventually: Eventually) -> None:
    chores = Chores(3600, None)
    keeper = Keeper(chores.tend, "test-keeper-2")
    keeper.poke()
    assert eventually(lambda: chores.done == 1)
    keeper.poke()
    assert eventually(lambda: chores.done == 2)


def test_a_poke_without_hurry_waits_for_the_next_time(eventually: Eventually) -> None:
    chores = Chores(0.2, None)
    keeper = Keeper(chores.tend, "test-keeper-3")
    keeper.poke()
    assert eventually(lambda: chores.done == 1)
    keeper.poke(hurry=False)
    assert chores.done == 1
    assert eventually(lambda: chores.done == 2)


def test_a_thread_that_cannot_be_had_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    chores = Chores(None)
    keeper = Keeper(chores.tend, "test-keeper-5")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            keeper.poke()
    keeper.poke()
    assert eventually(lambda: chores.done == 1)


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_poke_while_it_finds_nothing_to_do_is_not_lost(eventually: Eventually) -> None:
    chores = Chores(None, None)
    chores.go_on.clear()
    keeper = Keeper(chores.tend, "test-keeper-4")
    keeper.poke()
    assert chores.under_way.wait(5)
    keeper.poke(hurry=False)
    chores.go_on.set()
    assert eventually(lambda: chores.done == 2)
    assert eventually(lambda: not running("test-keeper-4"))
