"""Transactions: a unit of work whose results become visible together or not at all, and which can be undone.

Transactions form a tree. A block that ends well hands what it staged to its parent; the outermost one publishes it all
in one step. Every task call is a transaction too, so that what a failed call left behind can be undone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from flowstone import commits
from flowstone._types import NotSet
from flowstone.clock import current_clock
from flowstone.context import Scope, current_scope, enter_scope, leave_scope
from flowstone.effects import Blocking, adrive, drive
from flowstone.exceptions import MissingResult
from flowstone.filesystems.base import check_key
from flowstone.latch import Latch
from flowstone.locking.holders import holder_path
from flowstone.modes import CommitMode, IsolationLevel, TransactionState
from flowstone.records import RecordInfo
from flowstone.results import Hit, ResultRecord, ResultStore, StagedRecord, get_result_store

if TYPE_CHECKING:
    import logging

    from flowstone.locking.base import LockManager
    from flowstone.runs import TaskRun
    from flowstone.upstream import Upstream

__all__ = [
    "AsyncTransaction",
    "CommitMode",
    "IsolationLevel",
    "Transaction",
    "TransactionState",
    "atransaction",
    "get_transaction",
    "transaction",
]

Hook = Callable[["Transaction"], Any]
Place = tuple[str, str]
_NO_VALUE: Final = NotSet


class Transaction:
    """One node of the tree; made by `transaction(...)` and entered with `with` or `async with`.

    A transaction belongs to the block that entered it; children may come from other threads. `run` is the task run
    whose work it is, None for a block of the user's.
    """

    __slots__ = (
        "_holder",
        "_scope_token",
        "children",
        "commit_mode",
        "explicit",
        "isolation_level",
        "key",
        "lock_manager",
        "locks",
        "logger",
        "on_commit_hooks",
        "on_rollback_hooks",
        "overwrite",
        "parent",
        "pending",
        "run",
        "staged",
        "state",
        "store",
        "stored",
        "trouble",
        "value",
        "visible",
        "write_on_commit",
    )

    def __init__(
        self,
        key: str | None = None,
        store: ResultStore | None = None,
        commit_mode: CommitMode | str | None = None,
        isolation_level: IsolationLevel | str | None = None,
        overwrite: bool = False,
        write_on_commit: bool = True,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        *,
        parent: Transaction | None = None,
        run: TaskRun | None = None,
        lock_manager: LockManager | None = None,
    ) -> None:
        self.key = key
        self.store = store
        self.parent = parent
        self.run = run
        self.explicit = run is None
        self.overwrite = overwrite
        self.write_on_commit = write_on_commit
        self.logger = logger
        self.lock_manager = lock_manager
        self.commit_mode = None if commit_mode is None else CommitMode.of(commit_mode)
        self.isolation_level = None if isolation_level is None else IsolationLevel.of(isolation_level)
        self.state = TransactionState.PENDING
        self.children: list[Transaction] = []
        self.on_commit_hooks: list[Hook] = []
        self.on_rollback_hooks: list[Hook] = []
        self.staged: StagedRecord | None = None
        self.value: object = _NO_VALUE
        self.trouble: Exception | None = None
        self.visible: dict[Place, Transaction] = {}
        self.locks: list[commits.HeldLock] = []
        self.pending: Latch | None = None
        self.stored: dict[str, Any] = {}
        self._holder: str | None = None
        self._scope_token: Token[Scope] | None = None

    @property
    def holder(self) -> str:
        """The name this transaction holds locks by; a path that begins with its ancestors' names."""
        if self._holder is None:
            self._holder = holder_path(self.parent.holder if self.parent else None)
        return self._holder

    def is_active(self) -> bool:
        return self.state is TransactionState.ACTIVE

    def is_pending(self) -> bool:
        return self.state is TransactionState.PENDING

    def is_staged(self) -> bool:
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        return self.state is TransactionState.ROLLED_BACK

    def get_parent(self) -> Transaction | None:
        return self.parent

    def add_child(self, child: Transaction) -> None:
        """Take over what `child` staged: it now commits, or is undone, with this transaction."""
        self.children.append(child)
        self.visible.update(child.visible)
        self.locks.extend(child.locks)
        child.locks = []

    def await_at_end(self, future: Upstream) -> None:
        """Have the end of this transaction wait for a run that was submitted inside it."""
        if self.pending is None:
            self.pending = Latch()
        self.pending.add()
        future.add_done_callback(self.pending.done)

    def set(self, name: str, value: Any) -> None:
        """Keep a copy of `value` under `name` for hooks and children."""
        try:
            self.stored[name] = copy.deepcopy(value)
        except TypeError:
            self.stored[name] = value  # `get` tells; a value that cannot be copied may still never be asked for

    def get(self, name: str, default: Any = NotSet) -> Any:
        """Return a copy of the value under `name`, here or in the nearest parent that has one.

        Raises ValueError for an unknown name unless `default` is given, TypeError if the value cannot be copied.
        """
        node: Transaction | None = self
        while node is not None:
            if name in node.stored:
                return copy.deepcopy(node.stored[name])
            node = node.parent
        if default is NotSet:
            raise ValueError(f"Could not retrieve value for unknown key {name!r}: nothing was set under it.")
        return default

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] | None = None,
        on_commit_hooks: Iterable[Hook] | None = None,
    ) -> None:
        """Take a snapshot of `value` to be recorded under the key on commit; ignored once committed or rolled back.

        Staging again replaces the value and adds the hooks. Raises SerializationError at once where the value cannot
        be recorded.
        """
        if self.state in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
            return
        self.on_rollback_hooks += on_rollback_hooks or ()
        self.on_commit_hooks += on_commit_hooks or ()
        self.value = value
        if self.key is not None and self.write_on_commit:
            self.keep(self._store().stage(self._info(self.key), value, hold=True))
        self.state = TransactionState.STAGED

    def keep(self, staged: StagedRecord) -> None:
        """Hold a record for the commit and let this tree see it."""
        self.staged = staged
        self.visible[staged.place] = self

    def find_staged(self, place: Place) -> StagedRecord | None:
        """Return the record that this tree has staged at a place, if any."""
        node: Transaction | None = self
        while node is not None:
            if (owner := node.visible.get(place)) is not None and owner.staged is not None:
                return owner.staged
            node = node.parent
        return None

    def read(self) -> ResultRecord[Any] | None:
        """Return the record under this transaction's key, None without a key; raises MissingResult if there is none."""
        if self.key is None:
            return None
        place = (self._store().identity, self.key)
        if (staged := self.find_staged(place)) is not None:
            return staged.as_result_record()
        found = self._store().lookup(self.key, current_clock().now())
        if not isinstance(found, Hit):
            raise MissingResult(f"There is no record under the key {self.key!r}: {found}.")
        return found.as_result_record()

    def begin(self) -> None:
        """Start the work: take the lock where isolation asks for it, and see whether the record is there already."""
        drive(commits.begin(self))

    def commit(self) -> bool:
        """Run the commit hooks and publish everything in this transaction; say whether that happened now.

        Raises CommitError when it cannot; then nothing is visible and the work has been undone.
        """
        return drive(commits.commit(self))

    def rollback(self) -> bool:
        """Undo everything in this transaction; say whether that happened now.

        All rollback hooks run, whatever each raises. Raises RollBackError at the end if any did.
        """
        return drive(commits.rollback(self))

    def reset(self) -> None:
        """End the block: hand over to the parent, or commit, as the commit mode says."""
        drive(commits.end(self, None))
        self._leave()

    def _store(self) -> ResultStore:
        if self.store is None:
            inherited = self.parent.store if self.parent is not None else None
            self.store = inherited or get_result_store()
        return self.store

    def _info(self, key: str) -> RecordInfo:
        return RecordInfo(key=key, created=current_clock().now())

    def join(self, parent: Transaction | None) -> None:
        """Take a place in the tree, and from the parent what was not given."""
        self.parent = parent
        if self.commit_mode is None:
            self.commit_mode = CommitMode.LAZY if parent is None else parent.commit_mode
        if self.isolation_level is None:
            self.isolation_level = IsolationLevel.READ_COMMITTED if parent is None else parent.isolation_level

    def _enter(self) -> None:
        if self.state is not TransactionState.PENDING or self._scope_token is not None:
            raise RuntimeError("This transaction has been entered already; make a new one for each block.")
        scope = current_scope()
        self.join(scope.transaction)
        if self.key is not None:
            check_key(self.key)
            self._store()
        self._scope_token = enter_scope(Scope(scope.flow, scope.task, self))

    def _leave(self) -> None:
        if self._scope_token is not None:
            leave_scope(self._scope_token)
            self._scope_token = None

    def __enter__(self) -> Transaction:
        self._enter()
        try:
            self.begin()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            drive(commits.end(self, error))
        finally:
            self._leave()

    async def __aenter__(self) -> Transaction:
        self._enter()
        try:
            await adrive(commits.begin(self))
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await adrive(commits.end(self, error))
        finally:
            self._leave()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key={self.key!r}, state={self.state.value}, children={len(self.children)})"


class AsyncTransaction(Transaction):
    """A transaction whose steps are awaited; made by `atransaction(...)`."""

    __slots__ = ()

    async def begin(self) -> None:  # type: ignore[override]
        await adrive(commits.begin(self))

    async def commit(self) -> bool:  # type: ignore[override]
        return await adrive(commits.commit(self))

    async def rollback(self) -> bool:  # type: ignore[override]
        return await adrive(commits.rollback(self))

    async def reset(self) -> None:  # type: ignore[override]
        await adrive(commits.end(self, None))
        self._leave()

    async def read(self) -> ResultRecord[Any] | None:  # type: ignore[override]
        return await adrive(_read(self))

    def __enter__(self) -> Transaction:
        raise TypeError("An atransaction is entered with `async with`; use transaction() for `with`.")


async def _read(node: Transaction) -> ResultRecord[Any] | None:
    record: ResultRecord[Any] | None = await Blocking(lambda: Transaction.read(node))
    return record


def transaction(
    key: str | None = None,
    store: ResultStore | None = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
) -> Transaction:
    """Return a transaction, to be entered with `with` or `async with`.

    Tasks called inside belong to it. With a `key` it is committed already, and says so by `is_committed()`, if there
    is a record under the key; otherwise the value staged, or None, is recorded there on commit. `overwrite` ignores
    that record. Raises KeyPathError for a key that cannot name a record, ConfigurationError for an unknown mode.
    """
    return Transaction(key, store, commit_mode, isolation_level, overwrite, write_on_commit, logger)


def atransaction(
    key: str | None = None,
    store: ResultStore | None = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
) -> AsyncTransaction:
    """Do as `transaction` does; the steps of what it returns are awaited."""
    return AsyncTransaction(key, store, commit_mode, isolation_level, overwrite, write_on_commit, logger)


def get_transaction() -> Transaction | None:
    """Return the innermost transaction around the code that calls this, or None."""
    return current_scope().transaction
