"""Starting a run when everything it waits for has ended, without holding a worker until then."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from flowstone.engine.resolve import upstreams_in
from flowstone.upstream import Upstream


def when_ready(arguments: Any, start: Callable[[], None]) -> None:
    """Call `start` once every future anywhere in `arguments` has ended; at once if there is none that has not."""
    waiting = [upstream for upstream in upstreams_in(arguments) if not upstream.state.is_final()]
    if not waiting:
        start()
        return
    _Countdown(waiting, start)


class _Countdown:
    __slots__ = ("_gate", "_left", "_start")

    def __init__(self, waiting: list[Upstream], start: Callable[[], None]) -> None:
        self._gate = Lock()
        self._left = len(waiting)
        self._start = start
        for upstream in waiting:
            upstream.add_done_callback(self._one_done)

    def _one_done(self, _upstream: object) -> None:
        with self._gate:
            self._left -= 1
            if self._left:
                return
        self._start()
