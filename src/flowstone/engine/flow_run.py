"""One call of a flow, from arguments to the last state."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from flowstone.clock import Clock, current_clock
from flowstone.context import FlowRunContext, Scope, current_scope, current_tags, enter_scope, leave_scope
from flowstone.effects import Blocking, Invoke, Raised, Returned, Sleep
from flowstone.engine.attempt import judged, next_delay
from flowstone.engine.hooks import run_hooks
from flowstone.engine.options import delays_of
from flowstone.engine.resolve import resolve
from flowstone.engine.validation import validated
from flowstone.events import FlowRunFinished, FlowRunStarted
from flowstone.exceptions import FlowRunTimeoutError, RunTimeoutError
from flowstone.logging import follow, prints_logged, run_logger
from flowstone.observers import tell
from flowstone.results import ResultStore, default_store
from flowstone.runs import FlowRun
from flowstone.settings import get_current_settings
from flowstone.states import (
    Cancelled,
    Completed,
    Crashed,
    HandedState,
    Retrying,
    Running,
    State,
    TimedOut,
    awaiting_retry,
    exception_to_failed_state,
)
from flowstone.upstream import Upstream


class FlowCall:
    """One call of a flow on its way through the engine."""

    __slots__ = ("args", "clock", "context", "flow", "kwargs", "retries", "retry_delays", "run", "scope", "value")

    def __init__(self, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any], scope: Scope) -> None:
        self.flow = flow
        self.args = args
        self.kwargs = kwargs
        self.scope = scope
        self.clock: Clock = current_clock()
        self.value: Any = None
        self.retries = 0
        self.retry_delays: tuple[float, ...] = ()
        self.run: FlowRun
        self.context: FlowRunContext


async def run_flow(flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any = None) -> FlowCall:
    """Run one call to its last state.

    Raises what makes the call impossible; what the flow itself raises, or parameters that do not validate, are in the
    last state of the run.
    """
    scope = current_scope()
    args, kwargs = await resolve(args, kwargs, wait_for)
    call = FlowCall(flow, args, kwargs, scope)
    parameters = flow.binder(args, kwargs)
    _open(call, parameters)
    call.run.started = call.clock.now()
    run_logger(call.run).info("Beginning flow run %r for flow %r", call.run.name, flow.name)
    tell(FlowRunStarted(flow, call.run))
    try:
        state = await _validate(call, parameters) or await _attempts(call)
    except BaseException as error:  # the engine was interrupted between two steps
        await _end(call, call.run.enter(_failure_of(error, call)))
        raise
    await _end(call, state)
    return call


def _open(call: FlowCall, parameters: dict[str, Any]) -> None:
    flow, scope, settings = call.flow, call.scope, get_current_settings()
    follow(settings)
    parent = scope.flow
    call.run = FlowRun(
        flow.name,
        flow.version,
        parameters,
        parent.flow_run if parent is not None else None,
        scope.task.task_run.id if scope.task is not None else None,
        flow.tags | current_tags(),
        flow.name_run,
    )
    if flow.flow_run_name is not None:
        call.run.rename(flow.named_by(parameters))
    persist = flow.persists if flow.persists is not None else (parent.persist_result if parent is not None else None)
    prints = flow.log_prints if flow.log_prints is not None else (parent.log_prints if parent is not None else None)
    call.context = FlowRunContext(
        flow,
        call.run,
        persist_result=persist,
        log_prints=settings.logging.log_prints if prints is None else prints,
        result_store=_store(call, settings),
        task_runner=flow.task_runner,
    )
    flows = settings.flows
    call.retries = flows.default_retries if flow.retries is None else flow.retries
    delays = flows.default_retry_delay_seconds if flow.retry_delay_seconds is None else flow.retry_delay_seconds
    call.retry_delays = delays_of(delays, call.retries)


def _store(call: FlowCall, settings: Any) -> ResultStore | None:
    """The store that tasks inherit; None where the flow has nothing of its own to say."""
    inherited = call.scope.flow.result_store if call.scope.flow is not None else None
    if not call.flow.has_result_options:
        return inherited
    return (inherited or default_store(settings)).update_for_flow(call.flow)


async def _validate(call: FlowCall, parameters: dict[str, Any]) -> State[Any] | None:
    if not call.flow.should_validate_parameters:
        return None
    try:
        found = validated(call.flow.fn, parameters)
    except Exception as error:
        return call.run.enter(exception_to_failed_state(error, "Validation of flow parameters failed with error:"))
    if found is not parameters:
        call.run.parameters = found
        call.args, call.kwargs = call.flow.binder.call_with(found)
    return None


async def _attempts(call: FlowCall) -> State[Any]:
    call.run.enter(Running())
    await run_hooks(call.flow.on_running_hooks, call.flow, call.run, call.run.state)
    while True:
        outcome = await _attempt(call)
        if isinstance(outcome, Returned):
            call.value = outcome.value
            return call.run.enter(outcome.value if isinstance(outcome.value, State) else Completed(data=outcome.value))
        state = _failure_of(outcome.error, call)
        if not state.is_failed() or call.run.run_count > call.retries:
            return call.run.enter(state)
        await _prepare_next(call, state)


async def _attempt(call: FlowCall) -> Returned[Any] | Raised:
    call.run.run_count += 1
    token = enter_scope(Scope(call.context, None, call.scope.transaction))
    try:
        with prints_logged() if call.context.log_prints else nullcontext():
            outcome: Returned[Any] | Raised = await Invoke(
                call.flow.fn, call.args, call.kwargs, call.flow.timeout_seconds
            )
        if call.context.children:
            await _await_children(call)
    finally:
        leave_scope(token)
    return outcome if isinstance(outcome, Raised) else judged(_with_final_states(outcome))


async def _await_children(call: FlowCall) -> None:
    """Tasks that were submitted and not waited for still belong to the flow run."""
    children = call.context.children
    while children:
        await Blocking(children.wait, twin=children.wait_async, cleanup=True)


def _with_final_states(outcome: Returned[Any]) -> Returned[Any]:
    """Returned futures stand for their states."""
    value = outcome.value
    if isinstance(value, Upstream):
        return Returned(value.state)
    if type(value) in (list, tuple, set) and any(isinstance(item, Upstream) for item in value):
        return Returned(type(value)(item.state if isinstance(item, Upstream) else item for item in value))
    return outcome


async def _prepare_next(call: FlowCall, state: State[Any]) -> None:
    delay = next_delay(call.retry_delays, call.run.run_count, None)
    run_logger(call.run).warning("%s; retrying in %.3g s.", state.message, delay)
    if delay:
        call.run.enter(awaiting_retry(delay))
        await Sleep(delay, call.clock)
    call.run.enter(Retrying())


def _failure_of(error: BaseException, call: FlowCall) -> State[Any]:
    if isinstance(error, HandedState):
        return error.state
    if type(error) is RunTimeoutError:
        told = f"Flow run exceeded timeout of {call.flow.timeout_seconds} second(s)"
        return TimedOut(told, data=FlowRunTimeoutError(told))
    if isinstance(error, Exception):
        return exception_to_failed_state(error, "Flow run encountered an exception:")
    if type(error).__name__ == "CancelledError":  # asyncio's own, which is not imported for its name alone
        return Cancelled("The run was cancelled.", data=error)
    return Crashed(f"The run was ended from outside: {type(error).__name__}.", data=error)


async def _end(call: FlowCall, state: State[Any]) -> None:
    for close in call.context.at_end:
        await Blocking(close, cleanup=True)
    call.run.ended = call.clock.now()
    hooks = call.flow.hooks_for(state)
    if hooks:
        await run_hooks(hooks, call.flow, call.run, state)
    level = "info" if state.is_completed() else "error"
    getattr(run_logger(call.run), level)("Finished in state %s", state)
    tell(FlowRunFinished(call.flow, call.run, state))
