from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flowstone.locking.waiting import Pause, Signal, Waiting, adrive, drive

Start = Callable[..., Any]


class Wait:
    """A wait that pauses `times` and remembers what was done to it."""

    def __init__(self, times: int = 1, seconds: float | None = 0.001) -> None:
        self.signal = Signal()
        self.times = times
        self.seconds = seconds
        self.story: list[object] = []

    def __call__(self) -> Waiting[str]:
        try:
            for _ in range(self.times):
                self.story.append(threading.get_ident())
                yield Pause(self.signal, self.seconds)
            return "done"
        except BaseException as error:
            self.story.append(type(error))
            raise
        finally:
            self.story.append("left")


async def on_loop(wait: Wait, *, quick: bool = True, undo: Callable[[str], object] = lambda _: None) -> str:
    return await adrive(wait(), quick=quick, undo=undo)


def test_both_drivers_run_the_same_text_to_its_end() -> None:
    assert drive(Wait(3)()) == "done"
    assert asyncio.run(on_loop(Wait(3))) == "done"
    assert asyncio.run(on_loop(Wait(3), quick=False)) == "done"


def test_a_signal_set_before_the_wait_is_not_lost() -> None:
    wait = Wait(seconds=None)
    wait.signal.set()
    assert drive(wait()) == "done"
    wait.signal.set()
    assert asyncio.run(asyncio.wait_for(on_loop(wait), 5)) == "done"


def test_a_signal_wakes_once() -> None:
    signal = Signal()
    signal.set()
    signal.set()
    signal.wait(None)
    again = threading.Thread(target=signal.wait, args=(5,))
    again.start()
    again.join(0.02)
    assert again.is_alive()
    signal.set()
    again.join(5)
    assert not again.is_alive()


def test_an_interrupt_is_raised_where_the_wait_stands() -> None:
    wait = Wait(seconds=None)

    class Interrupting(Signal):
        def wait(self, seconds: float | None) -> None:
            raise KeyboardInterrupt

    wait.signal = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        drive(wait())
    assert wait.story[-2:] == [KeyboardInterrupt, "left"]


@pytest.mark.parametrize("quick", [True, False])
def test_a_cancellation_is_raised_where_the_wait_stands(quick: bool) -> None:
    wait = Wait(seconds=None)

    async def main() -> None:
        task = asyncio.create_task(on_loop(wait, quick=quick))
        while not wait.story:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 5))
    assert wait.story[-2:] == [asyncio.CancelledError, "left"]


def test_steps_that_are_not_quick_leave_the_loop_alone() -> None:
    wait = Wait(2)
    asyncio.run(on_loop(wait, quick=False))
    assert threading.get_ident() not in wait.story
    wait = Wait(2)
    asyncio.run(on_loop(wait))
    assert wait.story[:2] == [threading.get_ident()] * 2


def test_what_a_step_brought_after_a_cancellation_is_undone() -> None:
    under_way, go_on = threading.Event(), threading.Event()
    undone: list[str] = []

    def waiting() -> Waiting[str]:
        under_way.set()
        go_on.wait(5)
        return "brought"
        yield

    async def main() -> None:
        task = asyncio.create_task(adrive(waiting(), quick=False, undo=undone.append))
        await asyncio.to_thread(under_way.wait, 5)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()  # the step finishes first
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 5))
    assert undone == ["brought"]


def test_a_step_cancelled_under_way_is_told_at_its_pause() -> None:
    under_way, go_on = threading.Event(), threading.Event()
    seen: list[type[BaseException]] = []

    def waiting() -> Waiting[str]:
        under_way.set()
        go_on.wait(5)
        try:
            yield Pause(Signal(), None)
        except BaseException as error:
            seen.append(type(error))
            raise
        return "never"

    async def main() -> None:
        task = asyncio.create_task(adrive(waiting(), quick=False, undo=lambda _: seen.append(KeyError)))
        await asyncio.to_thread(under_way.wait, 5)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 5))
    assert seen == [asyncio.CancelledError]


def test_a_signal_to_a_closed_loop_is_nobodys() -> None:
    wait = Wait(seconds=None)
    loop = asyncio.new_event_loop()
    task = loop.create_task(on_loop(wait))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    wait.signal.set()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_locks_are_imported_without_asyncio() -> None:
    script = (
        "import sys, flowstone.locking.memory, flowstone.locking.filesystem\n"
        "print([name for name in ('asyncio', 'inspect', 'dataclasses', 'socket') if name in sys.modules])\n"
    )
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]"
