"""Which task runner a submit goes to: the block's, the flow's, or the one of the process."""

from __future__ import annotations

import atexit
from threading import Lock
from typing import Any, Final

from flowstone.context import FlowRunContext, current_scope
from flowstone.task_runners.base import IN_BLOCK, TaskRunner
from flowstone.task_runners.threads import ThreadPoolTaskRunner

_GATE: Final = Lock()


class _OfProcess:
    """The runner for submits outside of flows and blocks; made by the first, given back when the process ends."""

    __slots__ = ("runner",)

    def __init__(self) -> None:
        self.runner: TaskRunner | None = None

    def get(self) -> TaskRunner:
        with _GATE:
            if self.runner is None:
                self.runner = ThreadPoolTaskRunner()
                self.runner.start()
                atexit.register(self.runner.stop)
            return self.runner


_of_process = _OfProcess()


def prevailing_runner() -> TaskRunner:
    """Return the started runner that a submit made here goes to."""
    in_block = IN_BLOCK.get()
    if in_block is not None:
        return in_block
    flow = current_scope().flow
    return _of_process.get() if flow is None else _runner_of(flow)


def _runner_of(flow: FlowRunContext) -> TaskRunner:
    """Return the flow run's own runner, started on its first submit and stopped at the end of the run."""
    with _GATE:
        started: Any = flow.started_runner
        if started is None:
            started = (flow.task_runner or ThreadPoolTaskRunner()).duplicate()
            started.start()
            flow.started_runner = started
            flow.at_end.append(started.stop)
        return started  # type: ignore[no-any-return]
