"""How a tree of transactions begins, commits and is undone.

Written once over effects, for blocks entered with `with` and with `async with`, and for the engine's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flowstone.clock import current_clock
from flowstone.effects import Blocking, CallHook, Raised
from flowstone.events import TaskRunRolledBack
from flowstone.exceptions import CommitError, ConfigurationError, LockError, RecordError, RollBackError, StoreError
from flowstone.modes import CommitMode, IsolationLevel, TransactionState
from flowstone.observers import tell
from flowstone.results import Hit, ResultStore, StagedRecord
from flowstone.states import RolledBack
from flowstone.warn import warn_once

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager
    from flowstone.transactions import Transaction


_FINAL: Final = (TransactionState.COMMITTED, TransactionState.ROLLED_BACK)


class HeldLock(NamedTuple):
    """A lock that a transaction holds until its outcome is final."""

    manager: LockManager
    key: str
    holder: str


async def begin(node: Transaction) -> None:
    """Enter the active state, or the committed one if the record is there already."""
    if node.key is None or node.store is None:
        node.state = TransactionState.ACTIVE
        return
    await take_lock(node, node.key, node.store)
    node.state = TransactionState.ACTIVE
    try:
        recorded = not node.overwrite and await _is_recorded(node, node.key, node.store)
    except BaseException:
        await release_locks(node)
        raise
    if recorded:
        node.state = TransactionState.COMMITTED
        await release_locks(node)


async def _is_recorded(node: Transaction, key: str, store: ResultStore) -> bool:
    if node.find_staged((store.identity, key)) is not None:
        return True
    now = current_clock().now()
    found = await Blocking(lambda: store.lookup(key, now, load=False), inline=store.memory_speed)
    return isinstance(found, Hit)


async def take_lock(node: Transaction, key: str, store: ResultStore) -> None:
    """Lock `key` for this transaction where its isolation asks for it; waits as long as it takes."""
    if node.isolation_level is not IsolationLevel.SERIALIZABLE:
        return
    manager = node.lock_manager or store.lock_manager
    if manager is None:
        raise ConfigurationError(
            f"isolation_level='SERIALIZABLE' needs a lock manager, and the storage {store.identity} has none of its "
            "own; give one with `policy.configure(lock_manager=...)` or `ResultStore(lock_manager=...)`."
        )
    lock = HeldLock(manager, key, node.holder)
    try:
        await Blocking(
            lambda: manager.acquire_lock(key, lock.holder), twin=lambda: manager.aacquire_lock(key, lock.holder)
        )
    except BaseException:  # an interrupt may have come between the acquisition and its answer
        await Blocking(lambda: manager.discard_lock(key, lock.holder), cleanup=True)
        raise
    node.locks.append(lock)


async def _leave_locks(heir: Transaction, held: Sequence[HeldLock]) -> None:
    """Make the parent the holder of what its child had: the child's siblings may come in, others wait for the end."""
    for lock in held:
        await Blocking(lambda lock=lock: _leave_lock(heir, lock), cleanup=True)  # type: ignore[misc]


def _leave_lock(heir: Transaction, lock: HeldLock) -> None:
    try:
        lock.manager.hand_over_lock(lock.key, lock.holder, heir.holder)
    except LockError:
        return  # it was lost; the check before the commit tells
    heir.locks.remove(lock)
    heir.locks.append(lock._replace(holder=heir.holder))


async def release_locks(node: Transaction) -> None:
    """Give back every lock of this transaction and of the children that ended in it; never raises an Exception."""
    held, node.locks = node.locks, []
    for lock in reversed(held):
        await Blocking(lambda lock=lock: _release(lock), cleanup=True)  # type: ignore[misc]


def _release(lock: HeldLock) -> None:
    try:
        lock.manager.release_lock(lock.key, lock.holder)
    except LockError as error:
        warn_once(("lock lost", lock.key), f"The lock on {lock.key!r} was lost before it was released: {error}")


async def end(node: Transaction, error: BaseException | None) -> None:
    """Leave the block: undo it after an error, else commit it or hand it to the parent, as the commit mode says.

    An interrupt on the way undoes the block too.
    """
    try:
        if node.pending:
            await _await_children(node)
        if error is not None:
            await undo_after(node, error)
        elif node.state is TransactionState.ROLLED_BACK:
            await rollback(node)
        elif node.commit_mode is CommitMode.EAGER:
            await commit(node)
        elif node.parent is not None:
            await _hand_over(node, node.parent)
        elif node.commit_mode is CommitMode.LAZY:
            await commit(node)
        else:
            await rollback(node)
    except BaseException as interruption:
        await undo_after(node, interruption)
        raise


async def _hand_over(node: Transaction, parent: Transaction) -> None:
    """Leave everything to the parent; of a block that is committed, what was called in it after that."""
    _stage_nothing(node)
    if node.state is not TransactionState.COMMITTED:
        node.state = TransactionState.STAGED
    held = node.locks
    parent.add_child(node)
    if held:
        await _leave_locks(parent, held)


async def end_run(node: Transaction, task_name: str) -> None:
    """Leave the transaction of a task that succeeded: whatever happens to its record, it has succeeded."""
    try:
        await end(node, None)
    except CommitError as error:
        warn_once(
            ("commit", task_name, type(error.__cause__)),
            f"The result of task {task_name!r} is returned but was not recorded: {error.__cause__}",
        )


async def undo_after(node: Transaction, error: BaseException) -> None:
    """Undo the tree because of `error`, unless its outcome is final already; lets the locks go in any case."""
    try:
        await rollback(node)
    except RollBackError as failure:
        error.add_note(f"While undoing the transaction: {failure}")
        for trouble in _causes(failure):
            error.add_note(f"  {type(trouble).__name__}: {trouble}")


def _causes(failure: RollBackError) -> Sequence[BaseException]:
    group = failure.__cause__
    return group.exceptions if isinstance(group, BaseExceptionGroup) else ()


async def _await_children(node: Transaction) -> None:
    """Wait for submitted tasks that belong to this transaction; they must not outlive it."""
    while node.pending:
        await Blocking(node.pending.wait, twin=node.pending.wait_async, cleanup=True)


async def commit(node: Transaction) -> bool:
    """Run the commit hooks, publish all records of the tree in one step, and let the locks go.

    A block whose record was there already still publishes what was called in it.
    """
    if node.pending:
        await _await_children(node)
    members = list(_members(node))
    if node.state is TransactionState.ROLLED_BACK or not members:
        await release_locks(node)
        return False
    _stage_nothing(node)
    problem = await _try_to_commit(node, members)
    if problem is not None:
        await _fail_to_commit(node, problem)
        return False
    for member in members:
        member.state = TransactionState.COMMITTED
    node.visible = {}  # readers find it in the store now, where others may replace it
    if node.locks:
        await release_locks(node)
    return True


async def _try_to_commit(node: Transaction, members: Sequence[Transaction]) -> Exception | None:
    for member in members:
        if member.trouble is not None:
            return member.trouble
    for member in members:
        for hook in member.on_commit_hooks:
            outcome = await CallHook(hook, (member,))
            if isinstance(outcome, Raised):
                return _passed_on(outcome.error)
    return await _publish(node, members)


def _stage_nothing(node: Transaction) -> None:
    """A keyed block that staged nothing records None: that it was done is worth knowing."""
    if (
        node.explicit
        and not node.is_committed()
        and node.key is not None
        and node.staged is None
        and node.trouble is None
    ):
        node.stage(None)


def _passed_on(error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    raise error


async def _publish(node: Transaction, members: Sequence[Transaction]) -> Exception | None:
    """Publish what the tree staged; one step within each store, and nothing anywhere if one of them cannot."""
    stores: dict[str, tuple[ResultStore, dict[str, StagedRecord]]] = {}
    for member in members:
        if (staged := member.staged) is not None and member.store is not None:
            stores.setdefault(member.store.identity, (member.store, {}))[1][staged.key] = staged  # the last one stands
    begun: list[tuple[ResultStore, list[StagedRecord]]] = []
    try:
        if node.locks:
            await _check_locks(node)
        for store, by_key in stores.values():
            records = list(by_key.values())
            begun.append((store, records))
            await Blocking(lambda s=store, r=records: s.publish(r), inline=store.memory_speed)  # type: ignore[misc]
            if node.locks:  # who takes the lock next must find the record, also behind a tier that writes later
                await Blocking(store.result_storage.flush)
    except BaseException as error:
        for store, records in begun:
            await Blocking(lambda s=store, r=records: _withdraw(s, r), cleanup=True)  # type: ignore[misc]
        return _passed_on(error)
    return None


def _withdraw(store: ResultStore, records: Sequence[StagedRecord]) -> None:
    """Remove those of the records that are there: another store failed, or an interrupt came during the last step."""
    for record in records:
        try:
            head = store.read_head(record.key)
            if head is not None and head.tag == record.head.tag:
                store.remove(record.key)
        except (RecordError, StoreError) as error:
            warn_once(
                ("withdraw", store.identity),
                f"The record {record.key!r} of a transaction that failed may have stayed in {store.identity}: {error}",
            )


async def _check_locks(node: Transaction) -> None:
    """A holder whose lease ran out while it was paused must not publish over its successor."""
    for lock in node.locks:
        if not await Blocking(lambda lock=lock: lock.manager.still_held(lock.key, lock.holder)):  # type: ignore[misc]
            raise LockError(f"The lock on {lock.key!r} was lost before its record could be published.")


async def _fail_to_commit(node: Transaction, problem: Exception) -> None:
    failure = CommitError(
        "The transaction could not commit and was undone; nothing of it was recorded. "
        f"{type(problem).__name__}: {problem}"
    )
    failure.__cause__ = problem
    await undo_after(node, failure)
    raise failure


async def rollback(node: Transaction) -> bool:
    """Undo the tree: all hooks, the node's own first, then its children's, the latest first; then let the locks go.

    Of a block whose outcome is final already, what was called in it after that is undone.
    """
    undone_now = node.state not in _FINAL
    if node.pending:
        await _await_children(node)
    problems: list[Exception] = []
    try:
        for member in list(_latest_first(node)):
            problems += await _undo(member)
    finally:
        node.visible = {}
        await release_locks(node)
    if problems:
        raise RollBackError(f"{len(problems)} rollback hook(s) failed; all others ran.") from ExceptionGroup(
            "rollback hooks failed", problems
        )
    return undone_now


async def restart(node: Transaction) -> None:
    """Undo what a failed attempt left, and make ready for the next; its own lock stays. May raise RollBackError."""
    own = [lock for lock in node.locks if lock.key == node.key]
    node.locks = [lock for lock in node.locks if lock.key != node.key]
    try:
        await rollback(node)
    finally:
        node.locks += own
        node.children, node.on_commit_hooks, node.on_rollback_hooks = [], [], []
        node.state = TransactionState.ACTIVE


async def _undo(member: Transaction) -> list[Exception]:
    was_staged = member.state is TransactionState.STAGED
    member.state = TransactionState.ROLLED_BACK
    member.staged = None
    problems: list[Exception] = []
    for hook in reversed(member.on_rollback_hooks):
        outcome = await CallHook(hook, (member,))
        if isinstance(outcome, Raised):
            problems.append(_passed_on(outcome.error))
    if was_staged and member.run is not None:
        state: Any = RolledBack("The transaction around this run was rolled back.")
        member.run.enter(state)
        tell(TaskRunRolledBack(member.run, state))
    return problems


def _members(node: Transaction) -> Iterator[Transaction]:
    """Yield the tree in the order the work was done: children as they ended, each before its parent."""
    if node.state is TransactionState.ROLLED_BACK:
        return
    for child in node.children:
        yield from _members(child)
    if node.state is not TransactionState.COMMITTED:
        yield node


def _latest_first(node: Transaction) -> Iterator[Transaction]:
    if node.state not in _FINAL:
        yield node
    for child in reversed(node.children):
        yield from _latest_first(child)
