"""Locks between machines that share nothing but an object store.

A lock is an object, a *lease*, created only if there is none. It names its owner and how long it holds, and its owner
writes it anew, if unchanged, while he lives. One who waits watches it: a lease that did not change for its whole
length, by the watcher's own clock, has a dead owner, and is replaced if it still has not changed. So clocks need not
agree, and each dead owner costs his successor one lease at most. The owner in turn counts from before he sent the last
renewal that succeeded, so that he knows of the end of his lease before anybody else does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from flowstone.exceptions import ConfigurationError, LockError, StoreError
from flowstone.filesystems.base import INTERNAL_PREFIX
from flowstone.filesystems.object_client import ObjectClient, Version
from flowstone.ids import new_id
from flowstone.locking.entries import Backing
from flowstone.locking.forks import after_fork
from flowstone.locking.holders import lineage
from flowstone.locking.keeper import Keeper
from flowstone.locking.outside import Outside, growing_pause
from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager, shared_space

if TYPE_CHECKING:
    from flowstone.filesystems.objects import ObjectStorage

LOCKS: Final = f"{INTERNAL_PREFIX}/locks"
LEASE: Final = 60.0
"""Seconds. Some servers let the losers of a race wait for seconds, so a lease must be long against one request."""

_SHORTEST_LEASE: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_RETRY: Final = 1.0
_FRESH: Final = 0.1  # of a lease: a renewal this young need not be repeated
_RENEWED: Final = 1 / 3  # of a lease: the age at which it is renewed
_SAFE: Final = 1 / 2  # of a lease: up to this age nobody can be about to take it over
_REQUEST: Final = 1 / 6  # of a lease: how long one request may take, so that a renewal can be tried again
_WATCHED: Final = 4096


class Lease(NamedTuple):
    """What the object says: who holds the lock and for how many seconds from the last change on. 0 is not at all."""

    holder: str
    seconds: float
    written: str  # tells one renewal from the next, so that no two versions of a lease are equal

    def encode(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Lease:
        """Read a lease; what cannot be read belongs to nobody we know, and holds as long as the others."""
        try:
            fields = json.loads(bytes(data))
            return cls(str(fields["holder"]), float(fields["seconds"]), str(fields["written"]))
        except (ValueError, TypeError, KeyError):
            return cls("", LEASE, "")


class LeaseBacking(Backing):
    """A lease that this process has: its version, and the time before the request which wrote it."""

    __slots__ = ("gone", "lock", "lost", "path", "renewed", "version")

    def __init__(self, path: str, version: Version, renewed: float, shown: str) -> None:
        super().__init__(shown=shown)
        self.path = path
        self.version = version
        self.renewed = renewed
        self.lock = Lock()
        self.lost = False
        self.gone = False  # given back: must not be renewed any more


class ObjectLeases(Outside):
    """The leases in one object store."""

    quick = False

    def __init__(
        self,
        client: ObjectClient,
        require_coordination: Callable[[], None],
        seconds: float = LEASE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client.hurried(seconds * _REQUEST)
        self._require_coordination = require_coordination
        self._seconds = seconds
        self._clock = clock
        self._keeper = Keeper(self.renew_all, "flowstone-leases")
        self._forget()
        after_fork(self, ObjectLeases._forget)

    def _forget(self) -> None:
        self._held: dict[str, LeaseBacking] = {}
        self._watched: dict[str, tuple[Version, float]] = {}

    # --- getting and giving back

    def take(self, key: str, holder: str) -> Backing | None:
        self._require_coordination()
        path = _path(key)
        try:
            if path not in self._watched:
                backing = self._create(path, holder)
                if backing is not None:
                    return backing
            return self._take_over(path, holder)
        except StoreError as error:
            raise self._failure(error) from error

    def _create(self, path: str, holder: str) -> LeaseBacking | None:
        began = self._clock()
        won, version = self._client.create(path, [self._lease(holder).encode()])
        return self._keep(path, version, began, holder) if won and version is not None else None

    def _take_over(self, path: str, holder: str) -> Backing | None:
        found = self._client.get(path)
        if found is None:
            self._watched.pop(path, None)
            return self._create(path, holder)
        lease = Lease.decode(found.data)
        if not self._lapsed(found.version, lease):
            return Backing(host=lease.holder) if lease.holder in lineage(holder) else None
        began = self._clock()
        version = self._client.swap(path, [self._lease(holder).encode()], found.version)
        return None if version is None else self._keep(path, version, began, holder)

    def _lapsed(self, version: Version, lease: Lease) -> bool:
        """Say whether this version of a lease has been watched from here for as long as it holds."""
        now = self._clock()
        known = self._watched.get(version.path)
        if known is None or not known[0].is_same(version):
            if len(self._watched) >= _WATCHED:
                self._watched.clear()
            known = self._watched[version.path] = (version, now)
        return now - known[1] >= lease.seconds

    def _lease(self, holder: str) -> Lease:
        return Lease(holder, self._seconds, new_id())

    def _keep(self, path: str, version: Version, began: float, holder: str) -> LeaseBacking:
        self._watched.pop(path, None)
        backing = self._held[path] = LeaseBacking(path, version, began, holder)
        self._keeper.poke()
        return backing

    def drop(self, key: str, backing: Backing) -> bool:
        if not isinstance(backing, LeaseBacking):
            return True
        if self._held.get(backing.path) is backing:
            del self._held[backing.path]
        try:
            with backing.lock:
                backing.gone = True
                return self._give_back(backing)
        except StoreError as error:
            raise self._failure(error) from error

    def _give_back(self, backing: LeaseBacking) -> bool:
        if backing.lost:
            return False
        if self._clock() - backing.renewed < self._seconds * _SAFE:
            self._client.delete(backing.path)
            return True
        # It may be another's by now, and a store cannot delete only if unchanged.
        free = Lease("", 0.0, new_id())
        return self._client.swap(backing.path, [free.encode()], backing.version) is not None

    # --- keeping

    def renew_all(self) -> float | None:
        """Renew what is due; return the seconds until the next is."""
        moments = []
        for backing in list(self._held.values()):
            try:
                if self._age(backing) >= self._seconds * _RENEWED:
                    self._renew(backing)
                due = backing.renewed + self._seconds * _RENEWED - self._clock()
            except StoreError:
                due = _RETRY  # the lease has most of its time yet, and `sound` knows when it has not
            if not backing.lost:
                moments.append(max(due, 0.0))
        return min(moments, default=None)

    def _renew(self, backing: LeaseBacking, holder: str | None = None) -> bool:
        """Write the lease anew, for `holder` if given; False if it is not ours any more."""
        with backing.lock:
            if backing.gone or backing.lost:
                return False
            began = self._clock()
            lease = self._lease(holder or backing.shown or "")
            version = self._client.swap(backing.path, [lease.encode()], backing.version)
            if version is None:
                version = self._ours_after_all(backing.path, lease)
            if version is None:
                backing.lost = True
                return False
            backing.version, backing.renewed, backing.shown = version, began, lease.holder
            return True

    def _ours_after_all(self, path: str, lease: Lease) -> Version | None:
        """Return the version there if it is what we wrote: a repeated request fails when the first one succeeded."""
        found = self._client.get(path)
        return found.version if found is not None and Lease.decode(found.data) == lease else None

    def _age(self, backing: LeaseBacking) -> float:
        return self._clock() - backing.renewed

    def rename(self, key: str, backing: Backing, heir: str) -> None:
        if not isinstance(backing, LeaseBacking) or backing.shown == heir:
            return
        try:
            if not self._renew(backing, heir):
                raise LockError(f"The lock on {key!r} was lost before it could be handed over to {heir!r}.")
        except StoreError as error:
            raise self._failure(error) from error

    def sound(self, key: str, backing: Backing) -> bool:
        try:
            if isinstance(backing, LeaseBacking):
                return not backing.lost and (self._age(backing) < self._seconds * _FRESH or self._renew(backing))
            lease = self._seen_lease(key)
            return lease is not None and lease.holder == backing.host
        except StoreError as error:
            raise self._failure(error) from error

    # --- asking

    def join(self, key: str, holder: str) -> Backing | None:
        lease = self._asked(key)
        return Backing(host=lease.holder) if lease is not None and lease.holder in lineage(holder) else None

    def seen(self, key: str) -> bool:
        return self._asked(key) is not None

    def seen_with(self, key: str, holder: str) -> bool:
        return self.join(key, holder) is not None

    def pause(self, waited: float) -> float:
        return growing_pause(waited, _FIRST_PAUSE, _LONGEST_PAUSE)

    def _asked(self, key: str) -> Lease | None:
        try:
            return self._seen_lease(key)
        except StoreError as error:
            raise self._failure(error) from error

    def _seen_lease(self, key: str) -> Lease | None:
        """Return the lease another process has on `key`, as far as can be known."""
        path = _path(key)
        found = None if path in self._held else self._client.get(path)
        if found is None:
            return None
        lease = Lease.decode(found.data)
        return None if self._lapsed(found.version, lease) else lease

    def _failure(self, error: StoreError) -> LockError:
        return LockError(f"The locks in {self._client.address.url} cannot be used. {error}")


class ObjectLockManager(SpaceLockManager):
    """Excludes threads, processes and machines by leases kept in `storage` itself.

    One acquisition and one release cost a request each, a wait one now and then. A holder that dies delays others by
    `lease` seconds at most; one that is cut off from the store for so long loses its locks, and `still_held` says so.
    The first use raises ConfigurationError if the server ignores conditional writes.
    """

    def __init__(self, storage: ObjectStorage, lease: float = LEASE) -> None:
        if lease < _SHORTEST_LEASE:
            raise ConfigurationError(f"A lease must be {_SHORTEST_LEASE} s or longer, got {lease}.")
        self.storage = storage
        self.lease = lease
        self.space = shared_space(("objects", storage.identity, lease), self._new_space)

    def _new_space(self) -> LockSpace:
        return LockSpace(ObjectLeases(self.storage.client, self.storage.require_coordination, self.lease))

    def __reduce__(self) -> tuple[type[ObjectLockManager], tuple[ObjectStorage, float]]:
        return ObjectLockManager, (self.storage, self.lease)

    def __repr__(self) -> str:
        return f"ObjectLockManager({self.storage!r}, lease={self.lease})"


def _path(key: str) -> str:
    """Return the name of a key's lease; keys are any strings."""
    return f"{LOCKS}/{blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"
