"""Where submitted tasks run: threads, processes, and other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstone.task_runners.base import TaskRunner
from flowstone.task_runners.threads import ThreadPoolTaskRunner

if TYPE_CHECKING:
    from flowstone.task_runners.processes import ProcessPoolTaskRunner

__all__ = ["ProcessPoolTaskRunner", "TaskRunner", "ThreadPoolTaskRunner"]


def __getattr__(name: str) -> Any:
    if name != "ProcessPoolTaskRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flowstone.task_runners.processes import ProcessPoolTaskRunner  # brings cloudpickle and subprocess

    return ProcessPoolTaskRunner
