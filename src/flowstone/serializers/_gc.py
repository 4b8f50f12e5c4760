"""Keeps the garbage collector off while many small objects are made: loads become two to three times as fast."""

from __future__ import annotations

import gc
import os
from threading import Lock


class _Pause:
    """A context manager, counted over all threads: the last one out turns the collector on again if it was on."""

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_in_child)

    def _begin(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._was_on = False

    def _begin_in_child(self) -> None:
        """The threads that were inside do not exist in the child."""
        if self._inside and self._was_on:
            gc.enable()
        self._begin()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_on:
                gc.enable()


gc_paused = _Pause()
