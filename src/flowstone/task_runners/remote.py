"""Runs in other processes: what is sent there, and what comes back. How it travels is the task runner's own affair."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any, Final, NamedTuple

from flowstone.annotations import quote
from flowstone.context import FlowRunContext, Scope, TaskRunContext, current_tags
from flowstone.effects import drive
from flowstone.engine.options import options_of
from flowstone.engine.resolve import holds_upstream, resolve
from flowstone.engine.task_run import TaskCall, isolation, prepare
from flowstone.events import TaskRunFinished
from flowstone.exceptions import ConfigurationError, SerializationError
from flowstone.filesystems.memory import MemoryFileSystem
from flowstone.modes import CommitMode, IsolationLevel, TransactionState
from flowstone.observers import anyone_listens, tell
from flowstone.records import Sealed
from flowstone.results import ResultStore, StagedRecord
from flowstone.results.memory import is_immutable
from flowstone.runs import FlowRun, TaskRun
from flowstone.settings import get_current_settings
from flowstone.task_runners.shipping import dumps
from flowstone.transactions import Transaction


class Around(NamedTuple):
    """What a run inherits from a flow run or task run around it."""

    run: FlowRun | TaskRun
    persist_result: bool | None
    log_prints: bool | None
    result_store: ResultStore | None


class Surroundings(NamedTuple):
    """What prevails where a run was submitted; the same for all runs of one `map`."""

    flow: Around | None
    task: Around | None
    tags: frozenset[str]
    settings: Mapping[str, str]
    log_level: int


class Group(NamedTuple):
    """The transaction around a run that is to be worked on elsewhere, but committed or undone here."""

    commit_mode: CommitMode | None
    isolation_level: IsolationLevel | None
    explicit: bool
    stored: dict[str, Any]


class Parcel(NamedTuple):
    """One run on its way; `task`, `surroundings` and `call` are pickled each by itself, since few of them differ."""

    task: bytes
    surroundings: bytes
    call: bytes


class Call(NamedTuple):
    """What is particular to one run."""

    run: TaskRun
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    group: Group | None


class Node(NamedTuple):
    """A transaction as it comes back: what it staged as sealed bytes, its hooks, and the children it took over.

    A hook is itself, or the position of one of the submitted task's own hooks, which never left.
    """

    key: str | None
    store: ResultStore | None
    run: TaskRun | None
    state: TransactionState
    record: tuple[Sealed, Any, Any] | None
    value: Any
    stored: dict[str, Any]
    trouble: Exception | None
    on_commit: list[Any]
    on_rollback: list[Any]
    children: list[Node]


class Reply(NamedTuple):
    """How a run ended elsewhere."""

    run: TaskRun
    nodes: list[Node]
    seconds: float


def resolved(args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with futures resolved, and marked so that they are not searched again.

    Raises UpstreamTaskError.
    """
    args, kwargs = drive(resolve(args, kwargs, wait_for))
    return tuple(map(_settled, args)), {name: _settled(value) for name, value in kwargs.items()}


def _settled(value: Any) -> Any:
    return quote(value) if holds_upstream(value) else value


def must_stay(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: TaskRun, scope: Scope) -> bool:
    """Say whether the transaction around has staged the result, so that the run has to look here.

    Raises ConfigurationError for a run that cannot be done elsewhere as it would be here.
    """
    store = options_of(task, get_current_settings(), scope.flow, scope.task).store
    if store is not None and isinstance(store.metadata_storage or store.result_storage, MemoryFileSystem):
        raise ConfigurationError(
            f"Task {task.name!r} keeps its results in the memory of this process, which other processes cannot see; "
            "give it a storage that they share, or run it on threads."
        )
    if scope.transaction is None:
        return False
    call = TaskCall(task, args, kwargs, run, scope)
    call.args, call.kwargs = drive(resolve(args, kwargs))
    prepare(call)
    if isolation(call) is IsolationLevel.SERIALIZABLE:
        raise ConfigurationError(
            f"Task {task.name!r} runs under SERIALIZABLE isolation inside a transaction, whose locks cannot be held by "
            "two processes; run it on threads, or outside of the transaction."
        )
    key = call.plan.key if call.plan is not None else None
    if key is None or call.options.store is None:
        return False
    return scope.transaction.find_staged((call.options.store.identity, key)) is not None


def parcel_of(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: TaskRun, scope: Scope) -> Parcel:
    """Return the run packed; raises SerializationError that says what of it cannot be sent."""
    call = Call(run, args, kwargs, _group_of(scope.transaction))
    return Parcel(
        _packed(task, task, "its function or options"),
        _packed_surroundings(scope, task),
        _packed(call, task, "its arguments"),
    )


def _packed(value: object, task: Any, what: str) -> bytes:
    try:
        return dumps(value)
    except Exception as error:
        raise SerializationError(
            f"Task {task.name!r} cannot be sent to another process: {what} cannot be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error


class _Last:
    """The surroundings packed last: the runs of one `map` share them. Replaced as a whole, so threads may race."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: tuple[tuple[Any, ...], bytes] = ((), b"")


_last: Final = _Last()


def _packed_surroundings(scope: Scope, task: Any) -> bytes:
    prevailing = (scope.flow, scope.task, current_tags(), get_current_settings(), _log_level())
    known, packed = _last.known
    if len(known) == len(prevailing) and all(map(is_, known, prevailing)):
        return packed
    packed = _packed(_surroundings(scope), task, "the flow run around it")
    if scope.flow is None or is_immutable(tuple(scope.flow.parameters.values())):
        _last.known = prevailing, packed
    return packed


def _surroundings(scope: Scope) -> Surroundings:
    flow, task = scope.flow, scope.task
    return Surroundings(
        None if flow is None else Around(flow.flow_run, flow.persist_result, flow.log_prints, flow.result_store),
        None if task is None else Around(task.task_run, task.persist_result, task.log_prints, task.result_store),
        current_tags(),
        get_current_settings().to_environment_variables(),
        _log_level(),
    )


def _log_level() -> int:
    from flowstone._loggers import ROOT  # brings logging

    return ROOT.getEffectiveLevel()


def _group_of(transaction: Transaction | None) -> Group | None:
    if transaction is None:
        return None
    explicit = False
    stored: dict[str, Any] = {}
    around: Transaction | None = transaction
    while around is not None:
        explicit = explicit or around.explicit
        stored = {**around.stored, **stored}
        around = around.parent
    return Group(transaction.commit_mode, transaction.isolation_level, explicit, stored)


def rebuilt_scope(surroundings: Surroundings, group: Group | None) -> Scope:
    """Return the scope of a run in the process it was sent to."""
    flow = task = transaction = None
    if surroundings.flow is not None:
        run, persist, prints, store = surroundings.flow
        assert isinstance(run, FlowRun)
        flow = FlowRunContext(None, run, persist_result=persist, log_prints=prints, result_store=store)
    if surroundings.task is not None:
        run, persist, prints, store = surroundings.task
        assert isinstance(run, TaskRun)
        task = TaskRunContext(
            None,
            run,
            {},
            flow_run_context=flow,
            persist_result=bool(persist),
            log_prints=bool(prints),
            result_store=store,
        )
    if group is not None:
        transaction = Transaction(commit_mode=group.commit_mode, isolation_level=group.isolation_level)
        transaction.explicit, transaction.stored = group.explicit, group.stored
        transaction.state = TransactionState.ACTIVE
    return Scope(flow, task, transaction)


def node_of(transaction: Transaction, task: Any, run: TaskRun) -> Node:
    """Return a transaction as it is sent back to where its run was submitted."""
    own = transaction.run is run
    staged = transaction.staged
    return Node(
        transaction.key,
        transaction.store if staged is not None else None,
        transaction.run,
        transaction.state,
        None if staged is None else staged.parts(),
        transaction.value,
        transaction.stored,
        transaction.trouble,
        _as_positions(transaction.on_commit_hooks, task.on_commit_hooks if own else []),
        _as_positions(transaction.on_rollback_hooks, task.on_rollback_hooks if own else []),
        [node_of(child, task, run) for child in transaction.children],
    )


def _as_positions(hooks: list[Any], known: list[Any]) -> list[Any]:
    positions = {id(hook): position for position, hook in enumerate(known)}
    return [positions.get(id(hook), hook) for hook in hooks]


def take_back(reply: Reply, task: Any, run: TaskRun, parent: Transaction | None) -> None:
    """Let the run here be what it became elsewhere; what it staged joins the transaction around."""
    run.take_over(reply.run)
    for node in reply.nodes:
        assert parent is not None
        parent.add_child(_rebuilt(node, task, run))
    if anyone_listens():
        tell(TaskRunFinished(task, run, run.state, None, None, reply.seconds))


def _rebuilt(node: Node, task: Any, run: TaskRun) -> Transaction:
    own = node.run is not None and node.run.id == run.id
    transaction = Transaction(node.key, node.store, run=run if own else node.run)
    for child in node.children:
        transaction.add_child(_rebuilt(child, task, run))
    if node.record is not None and node.store is not None and node.key is not None:
        transaction.keep(StagedRecord(node.store, node.key, *node.record))
    transaction.state = node.state
    transaction.value, transaction.stored, transaction.trouble = node.value, node.stored, node.trouble
    transaction.on_commit_hooks += [task.on_commit_hooks[h] if isinstance(h, int) else h for h in node.on_commit]
    transaction.on_rollback_hooks += [task.on_rollback_hooks[h] if isinstance(h, int) else h for h in node.on_rollback]
    return transaction
