"""The contract of lock managers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from flowstone.exceptions import ConfigurationError, LockError, LockTimeout
from flowstone.locking.holders import holder_path as holder_path
from flowstone.locking.holders import within
from flowstone.locking.waiting import Waiting, adrive, aside, drive


class LockManager(ABC):
    """Exclusive locks on keys. Every method may be called from any thread, `a...` twins on any event loop.

    **Holders.** A lock belongs to a holder, not to a thread. A holder is a path: `"p/q"` is a child of `"p"`. Make one
    with `holder_path(parent)` for each unit of work. One tree never locks itself out:

    - A holder enters a lock at once, past everybody in line, if it or an ancestor holds it. Each entry counts.
    - All others wait: strangers, siblings, and also an ancestor of the one who holds it. So two siblings exclude each
      other, unless a common ancestor holds the lock.
    - `release_lock` takes one count of that very holder back. The lock is free when the last count of the last holder
      is gone, in whatever order they go.
    - `hand_over_lock` makes an ancestor the holder of what a descendant has: work that has ended, whose outcome its
      parent decides, leaves its locks with the parent, and waiting siblings come in.

    **Keys** are any strings and never touch: `"a"` and `"a/b"`, `"v1.2"` and `"v1.3"` are different locks.

    **Waiting** is first come, first served within a process. `acquire_timeout` is in seconds; None waits for ever and
    0 tries once. A wait that ends early, by an interrupt or a cancellation, leaves nothing taken and wakes the next.

    **Circles.** If the holders of one process wait for each other, the one who would close the circle gets a
    DeadlockError that names holders and keys. A holder is taken to keep its locks until its descendants are done. A
    hold with a time limit never makes a circle. Circles through other processes are not seen: use `acquire_timeout`.

    **Holding** ends with `release_lock`, with the process, or `hold_timeout` seconds after the acquisition, whichever
    is first. A holder of several counts keeps the lock as long as the longest of them. A forked child holds nothing of
    its parent's. What has ended cannot be released: that raises LockError, so that its holder learns of it.

    **Processes.** Managers that reach beyond their process let a descendant in there enter as a guest of its ancestor
    here. The ancestor must outlast its guests; `still_held` tells a guest whether it did.

    A wrong argument raises ConfigurationError. What cannot be reached or asked raises LockError; the answer "no" is
    always a fact.
    """

    @property
    def quick(self) -> bool:
        """Whether the methods without a wait return within microseconds, so that an event loop may call them."""
        return True

    # -- to be written for each kind

    @abstractmethod
    def acquiring(
        self, key: str, holder: str, acquire_timeout: float | None, hold_timeout: float | None
    ) -> Waiting[bool]:
        """Acquire a lock as a generator of pauses, with arguments that have been checked."""

    @abstractmethod
    def watching(self, key: str, timeout: float | None) -> Waiting[bool]:
        """Wait until a lock is free as a generator of pauses, with arguments that have been checked."""

    @abstractmethod
    def release_lock(self, key: str, holder: str) -> None:
        """Give one count of `holder` back; raises LockError if it has none, or lost the lock meanwhile."""

    @abstractmethod
    def discard_lock(self, key: str, holder: str) -> None:
        """Give back all counts of `holder`, if any: the way out for code that was interrupted on its way in."""

    @abstractmethod
    def hand_over_lock(self, key: str, holder: str, heir: str) -> None:
        """Make `heir`, an ancestor of `holder`, the holder of all its counts; raises LockError if it has none."""

    @abstractmethod
    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds `key`."""

    @abstractmethod
    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Say whether `holder` would enter at once because it or an ancestor holds `key`, here or elsewhere.

        A lease that this process lost while it was stopped still counts: only `still_held` asks for that.
        """

    @abstractmethod
    def still_held(self, key: str, holder: str) -> bool:
        """Say whether `holder` or an ancestor holds `key` and nobody else can have taken it over meanwhile.

        To be asked right before what the lock protects is published. A process that was stopped for longer than its
        lease, or whose lock files were removed, gets False here; a publisher that heeds it never overwrites its
        successor. Where a lease is behind the lock, a yes renews it in the same step.
        """

    # -- the same for all

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Acquire `key` for `holder`; False if it could not be had within `acquire_timeout` seconds."""
        return drive(self.acquiring(key, _name(holder), *_times(acquire_timeout, hold_timeout)))

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Acquire `key` for `holder` without blocking the event loop. If it is cancelled, nothing is taken."""

        def undo(acquired: bool) -> None:
            if acquired:
                self.release_lock(key, holder)

        waiting = self.acquiring(key, _name(holder), *_times(acquire_timeout, hold_timeout))
        return await adrive(waiting, quick=self.quick, undo=undo)

    async def arelease_lock(self, key: str, holder: str) -> None:
        """Do what `release_lock` does without blocking the event loop; it is done even if this is cancelled."""
        await aside(lambda: self.release_lock(key, holder), quick=self.quick)

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until `key` is, or was for a moment, free; False if it was not within `timeout` seconds."""
        return drive(self.watching(key, _seconds("timeout", timeout)))

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Do what `wait_for_lock` does without blocking the event loop."""
        waiting = self.watching(key, _seconds("timeout", timeout))
        return await adrive(waiting, quick=self.quick, undo=lambda _: None)


class held:
    """Hold `key` for a block, `with` or `async with`; raises LockTimeout if it cannot be had in time.

    A block that ends well raises LockError if the lock was lost meanwhile. A block that raises is not covered up.
    """

    def __init__(
        self,
        manager: LockManager,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> None:
        self._manager = manager
        self._key = key
        self._holder = holder
        self._acquire_timeout = acquire_timeout
        self._hold_timeout = hold_timeout

    def __enter__(self) -> None:
        if not self._manager.acquire_lock(self._key, self._holder, self._acquire_timeout, self._hold_timeout):
            raise self._timeout()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._manager.release_lock(self._key, self._holder)
        except LockError:
            if error is None:
                raise

    async def __aenter__(self) -> None:
        if not await self._manager.aacquire_lock(self._key, self._holder, self._acquire_timeout, self._hold_timeout):
            raise self._timeout()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._manager.arelease_lock(self._key, self._holder)
        except LockError:
            if error is None:
                raise

    def _timeout(self) -> LockTimeout:
        return LockTimeout(
            f"The lock on {self._key!r} was not to be had within {self._acquire_timeout} s; another holder has it."
        )


def check_heir(holder: str, heir: str) -> None:
    """Raise ConfigurationError unless `heir` is an ancestor of `holder`, or itself."""
    if not within(_name(holder), _name(heir)):
        raise ConfigurationError(f"{holder!r} can hand a lock over to its ancestors only, and {heir!r} is none.")


def _name(holder: str) -> str:
    if not isinstance(holder, str) or not holder:
        raise ConfigurationError(f"A lock is held in the name of a string that is not empty, not of {holder!r}.")
    return holder


def _times(acquire_timeout: float | None, hold_timeout: float | None) -> tuple[float | None, float | None]:
    if acquire_timeout is hold_timeout is None:
        return None, None
    if hold_timeout is not None and _seconds("hold_timeout", hold_timeout) == 0:
        raise ConfigurationError("hold_timeout must be longer than 0 s: a lock that lapses at once locks nothing.")
    return _seconds("acquire_timeout", acquire_timeout), _seconds("hold_timeout", hold_timeout)


def _seconds(name: str, value: float | None) -> float | None:
    """Check a duration; infinity is the same as None."""
    if value is None or value == float("inf"):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, or None; not {value!r}.")
    return value
