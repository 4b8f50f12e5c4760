"""Locks within one process."""

from __future__ import annotations

from typing import Final

from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager

_PROCESS: Final = LockSpace()


class MemoryLockManager(SpaceLockManager):
    """Excludes the threads and coroutines of this process; all instances share their locks.

    For stores that no other process uses. The rules are in `flowstone.locking.table`, where every other manager has
    them from; here nothing stands behind them.
    """

    def __init__(self) -> None:
        self.space = _PROCESS

    def __reduce__(self) -> tuple[type[MemoryLockManager], tuple[()]]:
        return MemoryLockManager, ()

    def __repr__(self) -> str:
        return "MemoryLockManager()"
