"""Waiting, written once for threads and event loops.

Code that waits is a generator: it yields a `Pause` for each moment that it has nothing to do, and returns its answer.
`drive` runs it on the calling thread, `adrive` on an event loop. Whatever ends the wait early (an interrupt, a
cancellation) is raised inside the generator, which then leaves nothing behind. GeneratorExit means that it was
forgotten: that may come from the garbage collector, in the middle of anything, so it must not take a lock there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_LONGEST = 3600.0
"""Seconds of one sleep at most: threads and loops refuse to sleep for ages; whoever wakes up looks and sleeps again."""


class Signal:
    """Wakes one waiter, a thread or a coroutine. Set before the wait begins, it is not lost."""

    __slots__ = ("_event", "_listener")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._listener: Callable[[], object] | None = None

    def set(self) -> bool:
        """Wake the waiter, from any thread; False if it sleeps on a loop that has been closed, and so for ever."""
        self._event.set()
        listener = self._listener
        if listener is not None:
            try:
                listener()
            except RuntimeError:
                return False
        return True

    def wait(self, seconds: float | None) -> None:
        """Wait on this thread until set, at most `seconds`."""
        self._event.wait(_LONGEST if seconds is None else min(seconds, _LONGEST))
        self._event.clear()  # Before the waiter looks again: what changes after its look sets the signal anew.

    async def asleep(self, seconds: float | None) -> None:
        """Wait on the running event loop until set, at most `seconds`; no thread waits meanwhile."""
        import asyncio  # heavy, and loaded already wherever a coroutine runs

        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        self._listener = lambda: loop.call_soon_threadsafe(wake)
        try:
            if not self._event.is_set():  # set between the caller's look and the line above
                await asyncio.wait((woken,), timeout=_LONGEST if seconds is None else min(seconds, _LONGEST))
        finally:
            self._listener = None
            self._event.clear()


class Pause(NamedTuple):
    """Nothing to do until `signal` is set, at most for `seconds`."""

    signal: Signal
    seconds: float | None


Waiting = Generator[Pause, None, T]


class _End(Generic[T]):
    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


def drive(waiting: Waiting[T]) -> T:
    """Run `waiting` to its end on this thread."""
    try:
        pause = next(waiting)
        while True:
            try:
                pause.signal.wait(pause.seconds)
            except BaseException as interruption:
                pause = waiting.throw(interruption)
            else:
                pause = next(waiting)
    except StopIteration as end:
        value: T = end.value
        return value


async def adrive(waiting: Waiting[T], *, quick: bool, undo: Callable[[T], object]) -> T:
    """Run `waiting` to its end on the running event loop.

    Steps that are not `quick` (a network is behind them) run in a thread each; pauses never occupy one. A step under
    way finishes. If a cancellation came meanwhile and that step was the last, `undo` gets what it brought.
    """
    error: BaseException | None = None
    while True:
        late: BaseException | None = None
        if quick:
            step = _resume(waiting, error)
        else:
            step, late = await _aside(partial(_resume, waiting, error))
        if isinstance(step, _End):
            value: T = step.value
            if late is None:
                return value
            await _aside(partial(undo, value))
            raise late
        error = late
        if error is None:
            try:
                await step.signal.asleep(step.seconds)
            except BaseException as interruption:
                error = interruption


async def aside(work: Callable[[], T], *, quick: bool) -> T:
    """Do `work` without blocking the event loop; it finishes even if the caller is cancelled meanwhile."""
    if quick:
        return work()
    value, late = await _aside(work)
    if late is not None:
        raise late
    return value


def _resume(waiting: Waiting[T], error: BaseException | None) -> Pause | _End[T]:
    try:
        return next(waiting) if error is None else waiting.throw(error)
    except StopIteration as end:
        return _End(end.value)


async def _aside(work: Callable[[], T]) -> tuple[T, BaseException | None]:
    """Do `work` in a thread to its end; answer with its value and a cancellation that came meanwhile."""
    import asyncio

    job = asyncio.get_running_loop().run_in_executor(None, work)
    late: BaseException | None = None
    while not job.done():
        try:
            await asyncio.wait((job,))
        except asyncio.CancelledError as cancellation:
            late = cancellation
    if late is not None and job.exception() is not None:
        raise late
    return job.result(), late
