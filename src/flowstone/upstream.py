"""What a run may be given in place of a value: something that will have one."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
