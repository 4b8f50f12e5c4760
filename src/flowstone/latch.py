"""Counts work under way, so that one can wait until there is none without keeping hold of any of it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Any


class Latch:
    """A count of jobs; `wait` returns when it is zero. Jobs may be added and ended from any thread."""

    __slots__ = ("_changed", "_count", "_when_free")

    def __init__(self) -> None:
        self._changed = Condition()
        self._count = 0
        self._when_free: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        """Say whether there is work under way."""
        return self._count > 0

    def add(self) -> None:
        with self._changed:
            self._count += 1

    def done(self, _job: object = None) -> None:
        """End one job."""
        with self._changed:
            self._count -= 1
            if self._count:
                return
            self._changed.notify_all()
            calls, self._when_free = self._when_free, []
        for call in calls:
            call()

    def wait(self) -> None:
        with self._changed:
            while self._count:
                self._changed.wait()

    async def wait_async(self) -> None:
        """Wait on the running event loop; a cancellation ends the wait, not the work."""
        import asyncio  # heavy, and loaded already wherever a coroutine runs

        loop = asyncio.get_running_loop()
        free: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if not self._count:
                return
            self._when_free.append(lambda: wake(loop, free))
        await free


def wake(loop: Any, future: Any) -> None:
    """Let a coroutine on `loop` go on that awaits `future`; from any thread, also when the loop is closed already."""

    def set_result() -> None:
        if not future.done():
            future.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(set_result)
