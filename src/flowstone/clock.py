"""Time comes in by argument: the engine asks a clock, and a test brings its own."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final


class Clock:
    """The clock of the machine. Times are seconds since the epoch, durations are seconds."""

    __slots__ = ()

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        """Return seconds since some fixed moment; never runs backwards."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        import asyncio  # heavy, and loaded already wherever a coroutine runs

        await asyncio.sleep(seconds)


SYSTEM_CLOCK: Final = Clock()
_CLOCK: ContextVar[Clock] = ContextVar("flowstone_clock", default=SYSTEM_CLOCK)

current_clock = _CLOCK.get
use_clock = _CLOCK.set
restore_clock = _CLOCK.reset
