"""The contract of what makes a lock hold beyond its process: an operating system, a server, a shared store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowstone.locking.entries import Backing


class Outside(ABC):
    """Locks as seen from outside of this process, where one process at a time has a key.

    All methods may be called from any thread, for one key by one thread at a time unless they only ask. None waits for
    a lock: `LockSpace` asks again. An outside that cannot be reached raises LockError, never "no".
    """

    alone = False
    quick = True
    """Whether every method returns within microseconds; otherwise async callers use threads."""

    @abstractmethod
    def take(self, key: str, holder: str) -> Backing | None:
        """Take `key` for this process and show `holder` as its owner, if it is free; or do what `join` does.

        An exception leaves nothing taken.
        """

    @abstractmethod
    def join(self, key: str, holder: str) -> Backing | None:
        """Return a guest's backing if an ancestor of `holder` has `key` in another process."""

    @abstractmethod
    def drop(self, key: str, backing: Backing) -> bool:
        """Give `key` back; False if it had been lost before. A guest's backing is just forgotten."""

    @abstractmethod
    def rename(self, key: str, backing: Backing, heir: str) -> None:
        """Show `heir` as the owner of what this process has."""

    @abstractmethod
    def seen(self, key: str) -> bool:
        """Say whether another process has `key`."""

    @abstractmethod
    def seen_with(self, key: str, holder: str) -> bool:
        """Say whether another process shows `holder` or an ancestor as the owner of `key`."""

    @abstractmethod
    def sound(self, key: str, backing: Backing) -> bool:
        """Say whether what this process has still excludes all others."""

    @abstractmethod
    def pause(self, waited: float) -> float:
        """Return the seconds until one who waited so long asks again."""


def growing_pause(waited: float, shortest: float, longest: float) -> float:
    """Return an eighth of the time waited, within bounds: short waits end soon, long ones cost nothing."""
    return min(max(waited / 8, shortest), longest)
