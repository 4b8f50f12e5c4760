"""What observers are told of: plain values, made only where somebody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from flowstone.cache_policies.plan import KeyPlan
    from flowstone.runs import FlowRun, TaskRun
    from flowstone.states import State


class TaskRunStarted(NamedTuple):
    """A task's body is about to run; not told for hits."""

    task: Any
    run: TaskRun


class TaskRunFinished(NamedTuple):
    """A task run reached its last state.

    `lookup` is the store's verdict (a Hit, a Miss, or None where nothing was looked up), `seconds` what the body took
    (for a hit: what it took when the record was made).
    """

    task: Any
    run: TaskRun
    state: State[Any]
    plan: KeyPlan | None
    lookup: Any
    seconds: float


class TaskRunRolledBack(NamedTuple):
    """A finished task run was undone with the transaction around it."""

    run: TaskRun
    state: State[Any]


class FlowRunStarted(NamedTuple):
    flow: Any
    run: FlowRun


class FlowRunFinished(NamedTuple):
    flow: Any
    run: FlowRun
    state: State[Any]


Event = TaskRunStarted | TaskRunFinished | TaskRunRolledBack | FlowRunStarted | FlowRunFinished
