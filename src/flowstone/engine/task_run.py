"""One call of a task, from arguments to the last state.

bind -> plan the key -> (lock) -> look up -> run -> stage -> commit -> state
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstone import commits
from flowstone.cache_policies.plan import Call, KeyPlan
from flowstone.clock import current_clock
from flowstone.context import Scope, TaskRunContext, current_scope, current_tags, flow_parameters
from flowstone.effects import Blocking, Raised
from flowstone.engine.attempt import Attempts, failure_of
from flowstone.engine.hooks import run_hooks
from flowstone.engine.options import CallOptions, options_of
from flowstone.engine.records import keep_result
from flowstone.engine.resolve import resolve
from flowstone.events import TaskRunFinished
from flowstone.exceptions import HashError, UpstreamTaskError
from flowstone.filesystems.base import check_key
from flowstone.modes import IsolationLevel
from flowstone.observers import anyone_listens, tell
from flowstone.results import Hit, Miss, MissReason, StagedRecord
from flowstone.runs import TaskRun
from flowstone.settings import get_current_settings
from flowstone.states import Completed, NotReady, State, StateDetails, StateType
from flowstone.transactions import Transaction
from flowstone.warn import warn_once

REFRESHED = Miss(MissReason.REFRESHED)


class TaskCall:
    """One call on its way through the engine; every step adds what it found."""

    __slots__ = (
        "_context",
        "args",
        "clock",
        "kwargs",
        "lookup",
        "options",
        "parameters",
        "plan",
        "run",
        "scope",
        "seconds",
        "task",
        "value",
    )

    def __init__(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: TaskRun, scope: Scope) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.run = run
        self.scope = scope
        self.clock = current_clock()
        self.plan: KeyPlan | None = None
        self.lookup: Hit | Miss | StagedRecord | None = None
        self.seconds = 0.0
        self.value: Any = None
        self._context: TaskRunContext | None = None
        self.options: CallOptions
        self.parameters: dict[str, Any]

    def run_id(self) -> str:
        """The id that RUN_ID means: the flow run's, else this task run's."""
        return self.run.flow_run_id or self.run.id

    def context(self) -> TaskRunContext:
        """The context of this run, made when user code is about to see it."""
        if self._context is None:
            options = self.options
            self._context = TaskRunContext(
                self.task,
                self.run,
                self.parameters,
                flow_run_context=self.scope.flow,
                persist_result=options.persist,
                log_prints=options.log_prints,
                result_store=options.store,
            )
        return self._context


async def run_task(
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: Iterable[Any] | None = None,
    run: TaskRun | None = None,
) -> TaskCall:
    """Run one call to its last state; `run` is given for a call that was submitted and so has a run already.

    Raises what makes the call impossible (arguments that do not fit, a key that cannot be one); what the task itself
    raises is in the last state of the run.
    """
    scope = current_scope()
    call = TaskCall(task, args, kwargs, run or new_run(task, scope), scope)
    try:
        call.args, call.kwargs = await resolve(args, kwargs, wait_for)
    except UpstreamTaskError as error:
        call.run.enter(NotReady(str(error), data=error))
        return call
    prepare(call)
    hit = await look_up(call) if call.plan is not None and call.plan.key is not None else None
    if hit is not None:
        await finish_from_cache(call, hit)
    else:
        await _run_in_transaction(call)
    return call


def new_run(task: Any, scope: Scope) -> TaskRun:
    """Return the run of a call made in `scope`."""
    flow, parent = scope.flow, scope.task
    tags = current_tags()
    return TaskRun(
        task.name,
        task.task_key,
        flow.flow_run.id if flow is not None else None,
        parent.task_run.id if parent is not None else None,
        task.tags | tags if tags else task.tags,
        task.name_run,
    )


def prepare(call: TaskCall) -> None:
    """Bind the arguments, settle the options and plan the key; no user code but key functions and name recipes runs."""
    task, scope = call.task, call.scope
    call.parameters = parameters = task.binder(call.args, call.kwargs)
    options = call.options = options_of(task, get_current_settings(), scope.flow, scope.task)
    if task.task_run_name is not None:
        call.run.rename(task.named_by(parameters))
    if options.policy is not None:
        call.plan = _planned(call, options.policy)


def _planned(call: TaskCall, policy: Any) -> KeyPlan:
    plan: KeyPlan = policy.plan(
        Call(call.task, call.parameters, flow_parameters(call.scope), call.run_id, call.context)
    )
    if plan.key is None:
        _warn_without_key(call, plan)
    elif plan.verbatim:
        check_key(plan.key)
    return plan


def _warn_without_key(call: TaskCall, plan: KeyPlan) -> None:
    if plan.problem is None:
        return
    where = getattr(plan.problem, "path", "") if isinstance(plan.problem, HashError) else str(plan.problem)
    warn_once(
        ("no key", call.task.task_key, where),
        f"Task {call.task.name!r} runs uncached: {plan.reason}",
    )


async def look_up(call: TaskCall) -> Hit | StagedRecord | None:
    """Return what is known already under the key: staged by this transaction, or recorded."""
    if call.options.refresh:
        call.lookup = REFRESHED
        return None
    staged = _look_in_transaction(call)
    if staged is not None:
        return staged
    if isolation(call) is IsolationLevel.SERIALIZABLE:
        return None  # to be looked up once the lock is held
    return await look_in_store(call)


def _look_in_transaction(call: TaskCall) -> StagedRecord | None:
    """Look for what the transaction around has staged under the key: reads see its own writes."""
    parent, store, plan = call.scope.transaction, call.options.store, call.plan
    if parent is None or store is None or plan is None or plan.key is None:
        return None
    staged = parent.find_staged((store.identity, plan.key))
    if staged is not None:
        call.lookup = staged
        call.value = staged.load()
    return staged


def isolation(call: TaskCall) -> IsolationLevel | None:
    """The isolation this call runs under: its policy's, else that of the transaction around it."""
    policy, parent = call.options.policy, call.scope.transaction
    if policy is not None and policy.isolation_level is not None:
        return policy.isolation_level
    return parent.isolation_level if parent is not None else None


async def look_in_store(call: TaskCall) -> Hit | None:
    """Look the key up in the store and note the verdict."""
    store, now, max_age = call.options.store, call.clock.now(), call.task.expiration_seconds
    key: Any = call.plan and call.plan.key
    assert store is not None
    found = await Blocking(lambda: store.lookup(key, now, max_age), inline=store.memory_speed)
    call.lookup = found
    if isinstance(found, Hit):
        if call.options.shares_keys and not found.was_written_by(call.task.author):
            _announce_sharing(call, found)
        call.value = found.value
        return found
    if found.reason is MissReason.UNREADABLE:
        warn_once(("unreadable", store.identity), f"The cache cannot be read, so tasks run: {found.detail}")
    return None


def _announce_sharing(call: TaskCall, hit: Hit) -> None:
    """Say once that a task is served what another one computed: its key says nothing of which task it is."""
    mine = f"{call.task.fn_module}.{call.task.name}"
    other = f"{hit.info.task_module}.{hit.info.task_name}"
    warn_once(
        ("shared", mine, other),
        f"Task {mine!r} was served a result that task {other!r} computed: under the policy {call.options.policy!r} "
        "equal inputs share one record whatever the task. If they must not, add TASK_SOURCE to the policy.",
    )


async def finish_from_cache(call: TaskCall, hit: Hit | StagedRecord) -> None:
    """End in the Cached state: nothing ran, so no hooks of running; completion hooks do run."""
    value = call.value
    message, data = (value.message, value.data) if isinstance(value, State) else (None, value)
    state = State(StateType.COMPLETED, "Cached", message, data, _served_from(call, hit))
    call.run.enter(state)
    if call.task.on_completion_hooks or anyone_listens():
        await conclude(call, state)
    else:
        call.run.ended = call.clock.now()


def _served_from(call: TaskCall, hit: Hit | StagedRecord) -> Any:
    """Return the recipe of the details; the record's header is read only if somebody asks."""
    return lambda: StateDetails(
        flow_run_id=call.run.flow_run_id,
        task_run_id=call.run.id,
        cache_key=hit.key,
        cache_expiration=hit.info.expires,
        produced_by=hit.info.task_run_id or None,
    )


async def open_transaction(call: TaskCall) -> Transaction | None:
    """Return the transaction the body will run as, its lock held where isolation asks for it.

    None where the record appeared while this call waited for the lock; the call has then ended from the cache.
    """
    plan, store, level = call.plan, call.options.store, isolation(call)
    key = plan.key if plan is not None else None
    node = Transaction(key, store, isolation_level=level, run=call.run, lock_manager=_lock_manager(call))
    node.on_rollback_hooks += call.task.on_rollback_hooks
    node.on_commit_hooks += call.task.on_commit_hooks
    node.join(call.scope.transaction)
    if level is not IsolationLevel.SERIALIZABLE or key is None or store is None:
        return node
    await commits.take_lock(node, key, store)
    try:
        hit = None if call.options.refresh else _look_in_transaction(call) or await look_in_store(call)
    except BaseException:
        await commits.release_locks(node)
        raise
    if hit is None:
        return node
    await commits.release_locks(node)
    await finish_from_cache(call, hit)
    return None


def _lock_manager(call: TaskCall) -> Any:
    policy = call.options.policy
    return policy.lock_manager if policy is not None else None


async def _run_in_transaction(call: TaskCall) -> None:
    """Run the body as a transaction of its own, and leave it as the outcome says."""
    node = await open_transaction(call)
    if node is None:
        return
    try:
        outcome = await Attempts(call, node).run()
        if isinstance(outcome, Raised):
            await commits.end(node, outcome.error)
            state: State[Any] = call.run.state
        else:
            state = await _complete(call, node)
    except BaseException as error:
        await break_off(call, node, error)
        raise
    await conclude(call, state)


async def break_off(call: TaskCall, node: Transaction, error: BaseException) -> None:
    """The engine was interrupted between two steps: undo the run and let it end in the state that this means."""
    await commits.undo_after(node, error)
    if not call.run.state.is_final():
        await conclude(call, call.run.enter(failure_of(error, call)))


async def _complete(call: TaskCall, node: Transaction) -> State[Any]:
    """Stage the result and commit it, or hand it to the transaction around."""
    value = call.value
    if node.key is not None:
        keep_result(call, node, value)
    await commits.end_run(node, call.task.name)
    return call.run.enter(value if isinstance(value, State) else Completed(data=value))


async def conclude(call: TaskCall, state: State[Any]) -> None:
    """The run is over: tell the hooks of its last state and whoever observes."""
    call.run.ended = call.clock.now()
    hooks = call.task.on_completion_hooks if state.is_completed() else call.task.on_failure_hooks
    if hooks and (state.is_completed() or state.is_failed()):
        await run_hooks(hooks, call.task, call.run, state)
    if anyone_listens():
        _tell(call, state)


def _tell(call: TaskCall, state: State[Any]) -> None:
    if isinstance(call.lookup, Hit | StagedRecord):
        call.seconds = call.lookup.info.duration
    tell(TaskRunFinished(call.task, call.run, state, call.plan, call.lookup, call.seconds))
