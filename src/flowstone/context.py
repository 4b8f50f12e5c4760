"""The runs around the code that is running now.

One context variable holds a `Scope`: the flow run, the task run and the transaction that prevail. The engine sets it
around user code; a new thread or task that copies the context inherits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from flowstone.exceptions import MissingContextError
from flowstone.latch import Latch

if TYPE_CHECKING:
    from flowstone.results import ResultStore
    from flowstone.runs import FlowRun, TaskRun
    from flowstone.transactions import Transaction


class FlowRunContext:
    """A flow run and what its tasks inherit from it.

    `persist_result` and `log_prints` are None where the flow does not say.
    """

    __slots__ = (
        "at_end",
        "children",
        "flow",
        "flow_run",
        "log_prints",
        "persist_result",
        "result_store",
        "start_time",
        "started_runner",
        "task_runner",
    )

    def __init__(
        self,
        flow: Any,
        flow_run: FlowRun,
        *,
        persist_result: bool | None,
        log_prints: bool | None,
        result_store: ResultStore | None,
        task_runner: Any = None,
    ) -> None:
        self.flow = flow
        self.flow_run = flow_run
        self.persist_result = persist_result
        self.log_prints = log_prints
        self.result_store = result_store
        self.task_runner = task_runner
        self.start_time = datetime.now(UTC)
        self.children = Latch()
        self.at_end: list[Callable[[], None]] = []
        self.started_runner: Any = None

    @property
    def parameters(self) -> dict[str, Any]:
        return self.flow_run.parameters

    @property
    def flow_run_id(self) -> str:
        return self.flow_run.id

    @classmethod
    def get(cls) -> FlowRunContext | None:
        """Return the context of the prevailing flow run, or None outside of flows."""
        return current_scope().flow


class TaskRunContext:
    """A task run and what tasks called by it inherit; this is what a cache key function gets."""

    __slots__ = ("flow_run_context", "log_prints", "parameters", "persist_result", "result_store", "task", "task_run")

    def __init__(
        self,
        task: Any,
        task_run: TaskRun,
        parameters: dict[str, Any],
        *,
        flow_run_context: FlowRunContext | None,
        persist_result: bool,
        log_prints: bool,
        result_store: ResultStore | None,
    ) -> None:
        self.task = task
        self.task_run = task_run
        self.parameters = parameters
        self.flow_run_context = flow_run_context
        self.persist_result = persist_result
        self.log_prints = log_prints
        self.result_store = result_store

    @property
    def task_run_id(self) -> str:
        return self.task_run.id

    @property
    def flow_run_id(self) -> str | None:
        return self.task_run.flow_run_id

    @property
    def start_time(self) -> datetime | None:
        return self.task_run.start_time

    @classmethod
    def get(cls) -> TaskRunContext | None:
        """Return the context of the prevailing task run, or None outside of tasks."""
        return current_scope().task


class Scope:
    """What prevails: immutable by agreement, replaced as a whole."""

    __slots__ = ("flow", "task", "transaction")

    def __init__(
        self,
        flow: FlowRunContext | None = None,
        task: TaskRunContext | None = None,
        transaction: Transaction | None = None,
    ) -> None:
        self.flow = flow
        self.task = task
        self.transaction = transaction


NO_SCOPE: Final = Scope()
_SCOPE: ContextVar[Scope] = ContextVar("flowstone_scope", default=NO_SCOPE)
_TAGS: ContextVar[frozenset[str]] = ContextVar("flowstone_tags", default=frozenset())

current_scope = _SCOPE.get
enter_scope = _SCOPE.set
leave_scope = _SCOPE.reset
current_tags = _TAGS.get
enter_tags = _TAGS.set


def get_run_context() -> TaskRunContext | FlowRunContext:
    """Return the context of the innermost run; raises MissingContextError where there is none."""
    scope = current_scope()
    context = scope.task or scope.flow
    if context is None:
        raise MissingContextError("No run context is available here; call this inside a flow or a task.")
    return context


@contextmanager
def tags(*new_tags: str) -> Iterator[frozenset[str]]:
    """Put tags on every run that starts inside the block; yields all tags that then prevail."""
    everything = current_tags() | frozenset(new_tags)
    before = _TAGS.set(everything)
    try:
        yield everything
    finally:
        _TAGS.reset(before)


def flow_parameters(scope: Scope) -> Mapping[str, Any] | None:
    """Return the parameters of the flow run that prevails, or None outside of flows."""
    return None if scope.flow is None else scope.flow.flow_run.parameters
