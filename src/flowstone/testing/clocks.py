"""A clock that a test moves."""

from __future__ import annotations

from contextvars import Token
from datetime import datetime, timedelta
from types import TracebackType

from flowstone.clock import Clock, restore_clock, use_clock
from flowstone.exceptions import ConfigurationError


class ManualClock(Clock):
    """Stands still until it is moved; whoever sleeps by it moves it and goes on at once.

    In a `with` block it is the clock of this thread or task, and of what is submitted from it: records expire and
    retries fall due by it. `slept` lists the seconds of each sleep.
    """

    __slots__ = ("_time", "_tokens", "slept")

    def __init__(self, now: datetime | float = 1_000_000_000.0) -> None:
        self._time = now.timestamp() if isinstance(now, datetime) else float(now)
        self._tokens: list[Token[Clock]] = []
        self.slept: list[float] = []

    def now(self) -> float:
        return self._time

    def elapsed(self) -> float:
        return self._time

    def advance(self, by: timedelta | float) -> None:
        """Move the clock forward; raises ConfigurationError for a step back."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise ConfigurationError(f"A clock does not go back by {-seconds} s; make a new one.")
        self._time += seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def __enter__(self) -> ManualClock:
        self._tokens.append(use_clock(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        restore_clock(self._tokens.pop())
