"""A thread that comes when something falls due and goes when nothing does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from flowstone.locking.forks import after_fork


class Keeper:
    """Calls `tend` when poked and then each time after as many seconds as it answered, until that is None.

    `tend` must not raise. The thread is a daemon: what a process held ends with it anyway.
    """

    def __init__(self, tend: Callable[[], float | None], name: str) -> None:
        self._tend = tend
        self._name = name
        self.forget()
        after_fork(self, Keeper.forget)

    def forget(self) -> None:
        self._changed = threading.Condition(threading.RLock())  # `poke` may come from the garbage collector
        self._poked = False
        self._thread: threading.Thread | None = None

    def poke(self, *, hurry: bool = True) -> None:
        """Have `tend` called: now, or without `hurry` at the latest when it would have been called anyway."""
        with self._changed:
            self._poked = True  # also keeps a thread that found nothing to do a moment ago
            if self._thread is not None:
                if hurry:
                    self._changed.notify()
            elif not sys.is_finalizing():  # A thread begun now would never run, and its `start` never return.
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # there are too many, or in newer Pythons: the program ends
                    self._thread = None
                    raise

    def _run(self) -> None:
        while True:
            with self._changed:
                self._poked = False
            delay = self._tend()
            with self._changed:
                if not self._poked and delay is None:
                    self._thread = None
                    return
                if not self._poked:
                    self._changed.wait(delay)
