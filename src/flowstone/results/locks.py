"""The lock methods of a result store, which its lock manager does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from flowstone.effects import Blocking, adrive
from flowstone.exceptions import ConfigurationError
from flowstone.modes import IsolationLevel

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

_PROGRAM = os.urandom(8).hex()  # with the process id, which tells a forked child, unlike anyone's on any machine
T = TypeVar("T")


class StoreLocks:
    """Locks on keys. A holder that is not named is the calling thread."""

    @property
    def lock_manager(self) -> LockManager | None:
        raise NotImplementedError

    def supports_isolation_level(self, level: IsolationLevel | str) -> bool:
        """Say whether transactions of this isolation level can use this store."""
        return IsolationLevel.of(level) is IsolationLevel.READ_COMMITTED or self.lock_manager is not None

    def acquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Take the lock on `key`, waiting at most `timeout` seconds; say whether it was had."""
        return self._locks().acquire_lock(key, holder or default_holder(), timeout)

    def release_lock(self, key: str, holder: str | None = None) -> None:
        """Give the lock on `key` back; raises LockError if the holder does not hold it."""
        self._locks().release_lock(key, holder or default_holder())

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds the lock on `key`."""
        return self._locks().is_locked(key)

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        """Say whether `holder` holds the lock on `key`."""
        return self._locks().is_lock_holder(key, holder or default_holder())

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds until nobody holds the lock on `key`; say whether that is so."""
        return self._locks().wait_for_lock(key, timeout)

    async def aacquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Do what `acquire_lock` does without blocking the event loop."""
        return await self._locks().aacquire_lock(key, holder or default_holder(), timeout)

    async def arelease_lock(self, key: str, holder: str | None = None) -> None:
        """Do what `release_lock` does without blocking the event loop."""
        await self._locks().arelease_lock(key, holder or default_holder())

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Do what `wait_for_lock` does without blocking the event loop."""
        return await self._locks().await_for_lock(key, timeout)

    def _locks(self) -> LockManager:
        manager = self.lock_manager
        if manager is None:
            raise ConfigurationError(
                "This result store has no lock manager and its storage has none of its own; "
                "give one with ResultStore(lock_manager=...)."
            )
        return manager


def default_holder() -> str:
    """Return the name of the calling thread among all threads of all machines."""
    return f"{_PROGRAM}:{os.getpid()}:{threading.get_ident()}"


async def aside(work: Callable[[], T], *, inline: bool = False) -> T:
    """Do `work` without blocking the event loop, or `inline` where it is quick enough for that."""

    async def core() -> T:
        answer: T = await Blocking(work, inline=inline)
        return answer

    return await adrive(core())
