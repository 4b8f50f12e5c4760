"""A third driver: engines killed at effect n, to see what they leave behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from threading import Lock
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from flowstone.effects import Advance, Blocking, CallHook, Core, Effect, Invoke, Sleep

T = TypeVar("T")
Die = Callable[[], None]

EFFECTS: Final[tuple[type[Effect[Any]], ...]] = (Advance, Blocking, CallHook, Invoke, Sleep)


class Killed(BaseException):
    """The run was killed on purpose; no `except Exception` holds it up."""


def raise_killed() -> None:
    raise Killed


def kill_process() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def drive_until(core: Core[T], n: int) -> T:
    """Run `core` on this thread as `drive` does, but raise Killed into it instead of answering effect `n`, from 1 on.

    Effects of clean-up do not count and are answered also after that, as with any interruption. Effects of the runs
    that user code starts inside belong to drivers of their own: use CrashDriver to kill at those.
    """
    answer: object = None
    error: BaseException | None = None
    count = 0
    try:
        while True:
            effect = core.send(answer) if error is None else core.throw(error)
            answer, error = None, None
            count += not effect.cleanup
            try:
                if count == n and not effect.cleanup:
                    raise Killed
                answer = effect.run()
            except BaseException as raised:
                error = raised
    except StopIteration as stop:
        return cast("T", stop.value)


class CrashDriver:
    """Kills at effect `at` of whatever runs in the block: tasks in tasks, flows, transactions, sync and async.

    `after` kills when the effect has been carried out and its answer is on the way, else right before. `die` says how:
    it raises Killed, or ends the process (`kill_process`). What is raised comes like any interruption at effects that
    are not clean-up; a process dies at any. Without `at` nothing is killed and `count` says how many effects there
    were. The whole process is under its hand, so use one at a time.
    """

    def __init__(self, at: int | None = None, *, after: bool = False, die: Die = raise_killed) -> None:
        self.at = at
        self.after = after
        self.count = 0
        self.fired = False
        self._die = die
        self._spares_cleanup = die is raise_killed
        self._gate = Lock()
        self._originals: list[tuple[type[Any], str, Any]] = []

    def _is_the_one(self, effect: Effect[Any]) -> bool:
        if self._spares_cleanup and effect.cleanup:
            return False
        with self._gate:
            self.count += 1
            if self.count != self.at:
                return False
            self.fired = True
            return True

    def __enter__(self) -> CrashDriver:
        for kind in EFFECTS:
            for name, wrapped in (("run", self._sync), ("arun", self._async)):
                original = vars(kind)[name]
                self._originals.append((kind, name, original))
                setattr(kind, name, wrapped(original))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        self._originals = []

    def _sync(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @wraps(original)
        def run(effect: Effect[Any]) -> Any:
            chosen = self._is_the_one(effect)
            if chosen and not self.after:
                self._die()
            answer = original(effect)
            if chosen:
                self._die()
            return answer

        return run

    def _async(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @wraps(original)
        async def arun(effect: Effect[Any]) -> Any:
            chosen = self._is_the_one(effect)
            if chosen and not self.after:
                self._die()
            answer = await original(effect)
            if chosen:
                self._die()
            return answer

        return arun
