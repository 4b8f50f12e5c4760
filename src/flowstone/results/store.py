"""The result store as people know it: a storage, a serializer and a lock manager."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from flowstone.clock import current_clock
from flowstone.exceptions import LockError, MissingResult
from flowstone.filesystems.base import Storage, check_key
from flowstone.records import RecordInfo
from flowstone.results.core import RecordStore
from flowstone.results.defaults import place_for
from flowstone.results.found import Hit, Miss
from flowstone.results.locks import StoreLocks, aside
from flowstone.results.memory import MemoryLayer
from flowstone.results.public import ResultRecord, ResultRecordMetadata
from flowstone.serializers import Serializer, get_serializer
from flowstone.settings import Settings, get_current_settings
from flowstone.signing import Keyring, load_keyring
from flowstone.warn import warn_once

if TYPE_CHECKING:
    from pathlib import Path

    from flowstone.locking.base import LockManager

T = TypeVar("T")
StorageLike: TypeAlias = "Storage | Path | str"
_UNKNOWN: Any = object()


def _new_key() -> str:
    return os.urandom(16).hex()


class ResultStore(RecordStore, StoreLocks):
    """Where results are kept and found again.

    A storage is given as an object, a path or a URL ("s3://bucket/prefix", "memory://name"). With `metadata_storage`
    the heads of the records live there and only their payloads in `result_storage`. What is not given is as the
    settings say. May be used from any thread; pickles, with the secrets of its keyring.
    """

    def __init__(
        self,
        result_storage: StorageLike | None = None,
        metadata_storage: StorageLike | None = None,
        lock_manager: LockManager | None = None,
        cache_result_in_memory: bool = True,
        serializer: Serializer | str | None = None,
        storage_key_fn: Callable[[], str] = _new_key,
        *,
        keyring: Keyring | None = None,
        verify: str | None = None,
        safe_serializers_only: bool | None = None,
        memory_bytes: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or get_current_settings()
        results = settings.results
        self.result_storage = place_for(result_storage, settings)
        self.metadata_storage = None if metadata_storage is None else place_for(metadata_storage, settings)
        self.serializer = get_serializer(results.default_serializer if serializer is None else serializer)
        self.storage_key_fn = storage_key_fn
        self.cache_result_in_memory = cache_result_in_memory
        self.verify_all = (results.verify if verify is None else verify) == "all"
        self.safe_serializers_only = (
            results.safe_serializers_only if safe_serializers_only is None else safe_serializers_only
        )
        self.memory_bytes = results.memory_bytes if memory_bytes is None else memory_bytes
        self._lock_manager = lock_manager
        self._natural_locks: Any = _UNKNOWN
        self._keyring = keyring
        self._key_source = (results.signing_key, settings.home)
        self._settle()

    def _settle(self) -> None:
        """Work out what follows from the storages."""
        if self.metadata_storage is not None and self.metadata_storage.identity == self.result_storage.identity:
            self.metadata_storage = None  # both halves under one name would overwrite each other
        self._heads = self.metadata_storage or self.result_storage
        halves = {self._heads.identity: None, self.result_storage.identity: None}
        self.identity = "|".join(halves)
        wanted = self.cache_result_in_memory and self.memory_bytes > 0
        self._memory = MemoryLayer(self.memory_bytes) if wanted else None

    @property
    def keyring(self) -> Keyring:
        """The keys that records are signed with; made or read when the first record is."""
        if self._keyring is None:
            text, home = self._key_source
            self._keyring = load_keyring(text, home, lambda message: warn_once(("signing key", home), message))
        return self._keyring

    @property
    def lock_manager(self) -> LockManager | None:
        """The lock manager that was given, or the one that fits the storage."""
        if self._lock_manager is not None:
            return self._lock_manager
        if self._natural_locks is _UNKNOWN:
            self._natural_locks = self._heads.natural_lock_manager()
        found: LockManager | None = self._natural_locks
        return found

    # --- single results by hand ----------------------------------------------------------------------------------

    def exists(self, key: str) -> bool:
        """Say whether there is a fresh record under `key`; deserialises nothing."""
        return self.lookup(key, current_clock().now(), load=False).found

    def read(self, key: str, holder: str | None = None) -> ResultRecord[Any]:
        """Return the record under `key`, waiting while somebody other than `holder` has locked it.

        Raises MissingResult with the reason if there is none.
        """
        if self._lock_manager is not None and not self.is_lock_holder(key, holder):
            self.wait_for_lock(key)
        found = self.lookup(key, current_clock().now())
        if isinstance(found, Miss):
            raise MissingResult(f"There is no result under the key {key!r}: {found}.")
        return ResultRecord(ResultRecordMetadata(found.info), found.value)

    def write(
        self,
        obj: object,
        key: str | None = None,
        expiration: datetime | None = None,
        holder: str | None = None,
    ) -> None:
        """Record `obj` under `key`, or under a new key, until `expiration`.

        Raises SerializationError, StoreError, or LockError if somebody other than `holder` has locked the key.
        """
        self.persist_result_record(self.create_result_record(obj, key, expiration), holder)

    def delete(self, key: str) -> bool:
        """Remove the record under `key`; say whether there was one."""
        check_key(key)
        return self.remove(key)

    def create_result_record(
        self, obj: T, key: str | None = None, expiration: datetime | None = None
    ) -> ResultRecord[T]:
        """Return a record of `obj` that is not written yet; an `expiration` without a zone is local time."""
        name = self.storage_key_fn() if key is None else key
        check_key(name)
        info = RecordInfo(
            key=name,
            created=current_clock().now(),
            expires=None if expiration is None else expiration.astimezone(UTC).timestamp(),
            serializer=self.serializer.name,
        )
        return ResultRecord(ResultRecordMetadata(info), obj)

    def persist_result_record(self, result_record: ResultRecord[Any], holder: str | None = None) -> None:
        """Write a record that `create_result_record` made."""
        key = result_record.metadata.storage_key
        if self._lock_manager is not None and self.is_locked(key) and not self.is_lock_holder(key, holder):
            raise LockError(f"The key {key!r} is locked by another holder, so its result cannot be written.")
        self.publish([self.stage(result_record.metadata.info, result_record.result)])

    async def alookup(self, key: str, now: float, max_age: float | None = None, load: bool = True) -> Hit | Miss:
        """Do what `lookup` does without blocking the event loop."""
        return await aside(lambda: self.lookup(key, now, max_age, load), inline=self.memory_speed)

    async def aexists(self, key: str) -> bool:
        """Do what `exists` does without blocking the event loop."""
        return await aside(lambda: self.exists(key), inline=self.memory_speed)

    async def aread(self, key: str, holder: str | None = None) -> ResultRecord[Any]:
        """Do what `read` does without blocking the event loop."""
        return await aside(lambda: self.read(key, holder))

    async def awrite(
        self,
        obj: object,
        key: str | None = None,
        expiration: datetime | None = None,
        holder: str | None = None,
    ) -> None:
        """Do what `write` does without blocking the event loop."""
        await aside(lambda: self.write(obj, key, expiration, holder), inline=self.memory_speed)

    async def adelete(self, key: str) -> bool:
        """Do what `delete` does without blocking the event loop."""
        return await aside(lambda: self.delete(key), inline=self.memory_speed)

    async def apersist_result_record(self, result_record: ResultRecord[Any], holder: str | None = None) -> None:
        """Do what `persist_result_record` does without blocking the event loop."""
        await aside(lambda: self.persist_result_record(result_record, holder), inline=self.memory_speed)

    # --- stores made from this one -------------------------------------------------------------------------------

    def update_for_task(self, task: Any) -> ResultStore:
        """Return a store like this one with what the task's own options say."""
        policy = getattr(task, "cache_policy", None)
        return self._changed(
            result_storage=getattr(task, "result_storage", None),
            serializer=getattr(task, "result_serializer", None),
            cache_result_in_memory=getattr(task, "cache_result_in_memory", None),
            metadata_storage=getattr(policy, "key_storage", None),
            lock_manager=getattr(policy, "lock_manager", None),
        )

    def update_for_flow(self, flow: Any) -> ResultStore:
        """Return a store like this one with what the flow's own options say."""
        return self._changed(
            result_storage=getattr(flow, "result_storage", None),
            serializer=getattr(flow, "result_serializer", None),
            cache_result_in_memory=getattr(flow, "cache_result_in_memory", None),
        )

    def _changed(
        self,
        result_storage: StorageLike | None = None,
        serializer: Serializer | str | None = None,
        cache_result_in_memory: bool | None = None,
        metadata_storage: StorageLike | None = None,
        lock_manager: LockManager | None = None,
    ) -> ResultStore:
        """Return a copy with what is not None replaced; it shares the memory layer if it speaks of the same place."""
        changed = copy.copy(self)
        settings = get_current_settings()
        if result_storage is not None:
            changed.result_storage = place_for(result_storage, settings)
            changed._natural_locks = _UNKNOWN
        if metadata_storage is not None:
            changed.metadata_storage = place_for(metadata_storage, settings)
            changed._natural_locks = _UNKNOWN
        if serializer is not None:
            changed.serializer = get_serializer(serializer)
        if lock_manager is not None:
            changed._lock_manager = lock_manager
        if cache_result_in_memory is not None:
            changed.cache_result_in_memory = cache_result_in_memory
        changed._settle()
        if changed._memory is not None and self._memory is not None and changed.identity == self.identity:
            changed._memory = self._memory
        return changed

    def __copy__(self) -> ResultStore:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what this process alone has; the keyring goes along, so that a worker elsewhere signs alike."""
        self.keyring  # noqa: B018 - read it now: the other process may have another home
        return {**self.__dict__, "_memory": None, "_heads": None, "_natural_locks": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._natural_locks = _UNKNOWN
        self._settle()

    def __repr__(self) -> str:
        halves = f", metadata_storage={self.metadata_storage!r}" if self.metadata_storage is not None else ""
        return f"ResultStore({self.result_storage!r}{halves}, serializer={self.serializer.name!r})"
