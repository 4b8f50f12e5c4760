"""The contract of a task runner: where submitted tasks run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Self

from flowstone.futures import FlowstoneFuture

IN_BLOCK: Final[ContextVar[TaskRunner | None]] = ContextVar("flowstone_task_runner", default=None)


class TaskRunner(ABC):
    """Runs submitted task runs somewhere else than on the caller's thread.

    Obligations, which the contract suite checks on every implementation:

    - The same call has the same key, states and record as when it is called directly.
    - A run starts only when every future among its arguments and in `wait_for` has ended; until then it holds no
      worker.
    - The run belongs to the flow run and the transaction of the code that submitted it; it inherits tags and settings.
    - A task that submits and waits never stands still for want of a worker.
    - `submit` may be called from any thread, also by a running task. It returns at once.
    - Leaving the `with` block waits for all runs.
    - A runner can be entered again only after it was left; `duplicate` gives a fresh one with the same options.
    """

    _token: Token[TaskRunner | None] | None = None

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def duplicate(self) -> TaskRunner:
        """Return a new runner with the same options."""

    @abstractmethod
    def submit(
        self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None = None
    ) -> FlowstoneFuture[Any]:
        """Start one run of `task` and return its future."""

    @abstractmethod
    def start(self) -> None:
        """Make ready; what is dear is made on the first submit."""

    @abstractmethod
    def stop(self) -> None:
        """Wait for all runs and give everything back."""

    def __enter__(self) -> Self:
        """Start, and take every submit made in the block."""
        self.start()
        self._token = IN_BLOCK.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            IN_BLOCK.reset(self._token)
            self._token = None
        self.stop()
