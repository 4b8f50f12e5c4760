"""Lock managers over a lock space: all of ours."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Final, Self
from weakref import WeakValueDictionary

from flowstone.locking.base import LockManager, check_heir
from flowstone.locking.space import LockSpace
from flowstone.locking.waiting import Waiting


class SpaceLockManager(LockManager):
    """Does everything by its `space`. Managers of one space are equal, and share all locks."""

    space: LockSpace

    @property
    def quick(self) -> bool:
        return self.space.quick

    def acquiring(
        self, key: str, holder: str, acquire_timeout: float | None, hold_timeout: float | None
    ) -> Waiting[bool]:
        return self.space.acquiring(key, holder, acquire_timeout, hold_timeout)

    def watching(self, key: str, timeout: float | None) -> Waiting[bool]:
        return self.space.watching(key, timeout)

    def release_lock(self, key: str, holder: str) -> None:
        self.space.release(key, holder)

    def discard_lock(self, key: str, holder: str) -> None:
        self.space.discard(key, holder)

    def hand_over_lock(self, key: str, holder: str, heir: str) -> None:
        check_heir(holder, heir)
        self.space.hand_over(key, holder, heir)

    def is_locked(self, key: str) -> bool:
        return self.space.is_locked(key)

    def is_lock_holder(self, key: str, holder: str) -> bool:
        return self.space.is_holder(key, holder)

    def still_held(self, key: str, holder: str) -> bool:
        return self.space.still_held(key, holder)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpaceLockManager) and other.space is self.space

    def __hash__(self) -> int:
        return hash(id(self.space))


_spaces: Final[WeakValueDictionary[Hashable, LockSpace]] = WeakValueDictionary()
_spaces_lock: Final = Lock()


def shared_space(identity: Hashable, make: Callable[[], LockSpace]) -> LockSpace:
    """Return this process's one space for `identity`, made if there is none; it lives as long as a manager uses it."""
    with _spaces_lock:
        space = _spaces.get(identity)
        if space is None:
            space = _spaces[identity] = make()
        return space
