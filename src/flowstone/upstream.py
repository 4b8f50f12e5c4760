"""What a run may be given in place of a value: something that will have one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from threading import local
from typing import Any

from flowstone.states import State


class Upstream(ABC):
    """A run that was submitted and whose result another run waits for; every future is one."""

    __slots__ = ()

    @property
    @abstractmethod
    def task_run_id(self) -> str: ...

    @property
    @abstractmethod
    def state(self) -> State[Any]:
        """The state of the run as it stands; final once `wait` has returned."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> None:
        """Return when the run has ended, or after `timeout` seconds."""

    @abstractmethod
    async def wait_async(self) -> None:
        """Wait on the running event loop."""

    @abstractmethod
    def add_done_callback(self, fn: Any) -> None:
        """Call `fn(upstream)` when the run has ended; at once if it has."""


class _Worker(local):
    """What a worker does around a wait, so that a pool whose workers wait for each other does not stand still."""

    blocking: Any = None


_worker = _Worker()


def blocking_here() -> AbstractContextManager[Any]:
    """Return the context that a wait on this thread belongs in."""
    return nullcontext() if _worker.blocking is None else _worker.blocking()


def this_worker_blocks_with(context: Any) -> None:
    """Set what a wait on this thread is wrapped in; None for nothing."""
    _worker.blocking = context
