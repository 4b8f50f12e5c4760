"""Running the body: attempts, what a returned or raised thing means, and what comes between two attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstone import commits
from flowstone.context import Scope, enter_scope, leave_scope
from flowstone.effects import CallHook, Invoke, Raised, Returned, Sleep
from flowstone.engine.hooks import run_hooks
from flowstone.events import TaskRunStarted
from flowstone.exceptions import RollBackError, RunTimeoutError, TaskRunTimeoutError
from flowstone.logging import prints_logged, run_logger
from flowstone.modes import TransactionState
from flowstone.observers import anyone_listens, tell
from flowstone.states import (
    Cancelled,
    Crashed,
    HandedState,
    Retrying,
    Running,
    State,
    TimedOut,
    aggregate,
    awaiting_retry,
    exception_to_failed_state,
)
from flowstone.transactions import Transaction

if TYPE_CHECKING:
    from flowstone.engine.task_run import TaskCall

Outcome = Returned[Any] | Raised


class Attempts:
    """The attempts of one call. Each is a savepoint: what a failed one staged is undone before the next begins."""

    __slots__ = ("_call", "_node")

    def __init__(self, call: TaskCall, node: Transaction) -> None:
        self._call = call
        self._node = node

    async def run(self) -> Outcome:
        """Run until an attempt succeeds or none is left; the state of the run then says how it failed."""
        call = self._call
        call.run.started = call.clock.now()
        state = call.run.enter(Running())
        if call.task.on_running_hooks:
            await run_hooks(call.task.on_running_hooks, call.task, call.run, state)
        if anyone_listens():
            tell(TaskRunStarted(call.task, call.run))
        while True:
            outcome = await self._attempt()
            if isinstance(outcome, Returned):
                call.value = outcome.value
                return outcome
            state = failure_of(outcome.error, call)
            if not await self._may_retry(state):
                call.run.enter(state)
                return outcome
            await self._prepare_next(state)

    async def _attempt(self) -> Outcome:
        call, node = self._call, self._node
        node.state = TransactionState.ACTIVE
        call.run.run_count += 1
        token = enter_scope(Scope(call.scope.flow, call.context(), node))
        started = call.clock.elapsed()
        try:
            if call.options.log_prints:
                with prints_logged():
                    outcome = await self._invoke()
            else:
                outcome = await self._invoke()
        finally:
            call.seconds = call.clock.elapsed() - started
            leave_scope(token)
        return outcome if isinstance(outcome, Raised) else judged(outcome)

    def _invoke(self) -> Invoke[Any]:
        call = self._call
        return Invoke(call.task.fn, call.args, call.kwargs, call.task.timeout_seconds)

    async def _may_retry(self, state: State[Any]) -> bool:
        call = self._call
        if not state.is_failed() or call.run.run_count > call.options.retries:
            return False
        condition = call.task.retry_condition_fn
        if condition is None:
            return True
        answer = await CallHook(condition, (call.task, call.run, state))
        if isinstance(answer, Raised):
            run_logger(call.run).error("retry_condition_fn failed, so there is no retry.", exc_info=answer.error)
            return False
        return bool(answer.value)

    async def _prepare_next(self, state: State[Any]) -> None:
        call = self._call
        try:
            await commits.restart(self._node)
        except RollBackError as error:
            run_logger(call.run).error("Undoing a failed attempt: %s", error, exc_info=error.__cause__)
        self._node.on_rollback_hooks += call.task.on_rollback_hooks
        self._node.on_commit_hooks += call.task.on_commit_hooks
        delay = next_delay(call.options.retry_delays, call.run.run_count, call.task.retry_jitter_factor)
        left = call.options.retries - call.run.run_count
        run_logger(call.run).warning("%s; retrying in %.3g s, %d more after that.", state.message, delay, left)
        if delay:
            call.run.enter(awaiting_retry(delay))
            await Sleep(delay, call.clock)
        call.run.enter(Retrying())


def next_delay(delays: tuple[float, ...], attempts_made: int, jitter: float | None) -> float:
    """Return the seconds before the next attempt; the last delay of a list repeats, jitter adds up to its factor."""
    if not delays:
        return 0.0
    delay = delays[min(attempts_made, len(delays)) - 1]
    if not jitter:
        return delay
    from random import random  # seeds itself when imported, which most runs need not wait for

    return delay * (1 + random() * jitter)


def judged(outcome: Returned[Any]) -> Outcome:
    """A returned state, or collection of them, that is not completed counts as a failure."""
    value = outcome.value
    if isinstance(value, State):
        return outcome if value.is_completed() else Raised(HandedState(value))
    if type(value) in (list, tuple, set) and value and all(isinstance(item, State) for item in value):
        failed = aggregate(value)
        return outcome if failed is None else Raised(HandedState(failed))
    return outcome


def failure_of(error: BaseException, call: TaskCall) -> State[Any]:
    """Return the state that this error ends an attempt in."""
    if isinstance(error, HandedState):
        return error.state
    if type(error) is RunTimeoutError:  # ours, not one that a task called by this one raised
        told = f"Task run exceeded timeout of {call.task.timeout_seconds} second(s)"
        return TimedOut(told, data=TaskRunTimeoutError(told))
    if isinstance(error, Exception):
        return exception_to_failed_state(error, "Task run encountered an exception")
    if type(error).__name__ == "CancelledError":  # asyncio's own, which is not imported for its name alone
        return Cancelled("The run was cancelled.", data=error)
    return Crashed(f"The run was ended from outside: {type(error).__name__}.", data=error)
