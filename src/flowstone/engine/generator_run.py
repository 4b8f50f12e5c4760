"""One call of a generator task: its items stream to the caller, are recorded when it ends, and replayed on a hit.

A run that the caller leaves early, or sends values into, is not recorded: what it gave depends on the caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstone import commits
from flowstone.clock import current_clock
from flowstone.context import Scope, current_scope, enter_scope, leave_scope
from flowstone.effects import Advance, CallerLeft, Emit, Exhausted, Raised, Returned
from flowstone.engine.attempt import failure_of
from flowstone.engine.hooks import run_hooks
from flowstone.engine.records import keep_result
from flowstone.engine.resolve import resolve
from flowstone.engine.task_run import (
    TaskCall,
    break_off,
    conclude,
    finish_from_cache,
    look_up,
    new_run,
    open_transaction,
    prepare,
)
from flowstone.logging import prints_logged
from flowstone.modes import TransactionState
from flowstone.runs import TaskRun
from flowstone.states import Completed, Running, State, StateType
from flowstone.transactions import Transaction


class Recording:
    """What a generator task gave: its items in order, and what it returned at its end."""

    __slots__ = ("items", "returned")

    def __init__(self, items: list[Any], returned: Any) -> None:
        self.items = items
        self.returned = returned

    def __reduce__(self) -> tuple[Any, ...]:
        return Recording, (self.items, self.returned)


async def run_generator_task(
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: Iterable[Any] | None = None,
    run: TaskRun | None = None,
) -> Any:
    """Emit every item of the task's generator; return what it returns, raise what it raises."""
    scope = current_scope()
    call = TaskCall(task, args, kwargs, run or new_run(task, scope), scope)
    call.args, call.kwargs = await resolve(args, kwargs, wait_for)
    prepare(call)
    hit = await look_up(call) if call.plan is not None and call.plan.key is not None else None
    if hit is None:
        return await _run_and_record(call)
    recording = call.value
    await finish_from_cache(call, hit)
    for item in recording.items:
        await Emit(item)
    return recording.returned


async def collect_generator_task(
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: Iterable[Any] | None,
    run: TaskRun,
) -> TaskCall:
    """Run a generator task that was submitted: its result is the list of its items."""
    call = TaskCall(task, args, kwargs, run, current_scope())
    core = run_generator_task(task, args, kwargs, wait_for, run)
    items: list[Any] = []
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            effect = core.send(answer) if error is None else core.throw(error)
            answer, error = None, None
            if isinstance(effect, Emit):
                items.append(effect.item)
                continue
            try:
                answer = await effect
            except BaseException as raised:
                error = raised
    except StopIteration:
        call.value = items
        if run.state.is_completed():
            run.enter(State(StateType.COMPLETED, run.state.name, run.state.message, items))
    except Exception:
        if not run.state.is_final():
            raise
    return call


async def _run_and_record(call: TaskCall) -> Any:
    node = await open_transaction(call)
    if node is None:  # another holder of the lock made the record meanwhile
        for item in call.value.items:
            await Emit(item)
        return call.value.returned
    try:
        return await _Stream(call, node).run()
    except BaseException as error:
        await break_off(call, node, error)
        raise


class _Stream:
    """A generator on its way: the items so far, and whether what it gives is its own."""

    __slots__ = ("_call", "_generator", "_items", "_node", "_pure")

    def __init__(self, call: TaskCall, node: Transaction) -> None:
        self._call = call
        self._node = node
        self._items: list[Any] | None = [] if node.key is not None else None
        self._pure = True
        self._generator: Any = None

    async def run(self) -> Any:
        call, node = self._call, self._node
        call.run.started = call.clock.now()
        call.run.run_count += 1
        node.state = TransactionState.ACTIVE
        state = call.run.enter(Running())
        await run_hooks(call.task.on_running_hooks, call.task, call.run, state)
        self._generator = call.task.fn(*call.args, **call.kwargs)
        end = await self._pump()
        if isinstance(end, Raised):
            await self._fail(end.error)
            raise end.error
        await self._complete(end.value)
        return end.value

    async def _pump(self) -> Exhausted[Any] | Raised:
        step = await self._advance(None, None)
        while isinstance(step, Returned):
            if self._items is not None:
                self._items.append(step.value)
            sent, thrown = None, None
            try:
                sent = await Emit(step.value)
            except CallerLeft:
                await self._abandon()
                raise
            except BaseException as error:
                thrown = error
            if sent is not None or thrown is not None:
                self._pure = False
            step = await self._advance(sent, thrown)
        return step

    async def _advance(self, value: Any, error: BaseException | None) -> Returned[Any] | Raised | Exhausted[Any]:
        """Take one step with the run's scope around it: between steps the caller's own scope prevails."""
        call = self._call
        token = enter_scope(Scope(call.scope.flow, call.context(), self._node))
        started = call.clock.elapsed()
        try:
            if not call.options.log_prints:
                return await Advance(self._generator, value, error)
            with prints_logged():
                return await Advance(self._generator, value, error)
        finally:
            call.seconds += call.clock.elapsed() - started
            leave_scope(token)

    async def _complete(self, returned: Any) -> None:
        call, node = self._call, self._node
        if self._items is not None:
            if self._pure:
                keep_result(call, node, Recording(self._items, returned), items=len(self._items))
            else:
                node.key = None
        await commits.end_run(node, call.task.name)
        await conclude(call, call.run.enter(Completed(data=returned)))

    async def _fail(self, error: BaseException) -> None:
        await commits.end(self._node, error)
        await conclude(self._call, self._call.run.enter(failure_of(error, self._call)))

    async def _abandon(self) -> None:
        """The caller left early: close the generator; what it did stands, what it gave is not recorded."""
        self._node.key = None
        end = await self._advance(None, GeneratorExit())
        if isinstance(end, Raised) and not isinstance(end.error, GeneratorExit):
            await self._fail(end.error)
            raise end.error
        await commits.end_run(self._node, self._call.task.name)
        self._call.run.enter(Completed("The caller left before the end."))
        self._call.run.ended = current_clock().now()
