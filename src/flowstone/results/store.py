"""The result store: a storage, a serializer and the keys that records are signed with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flowstone.exceptions import FlowstoneException, MissingResult, RecordError, SerializationError, StoreError
from flowstone.filesystems import resolve_storage
from flowstone.filesystems.base import Blob, Storage
from flowstone.records import (
    JOINT_SIZE,
    Buffer,
    Head,
    MissReason,
    RecordInfo,
    head_size,
    open_head,
    open_payload,
    seal,
)
from flowstone.results.found import Hit, Miss, StagedRecord
from flowstone.results.memory import NO_VALUE, MemoryLayer
from flowstone.serializers import Serializer, get_serializer
from flowstone.signing import Keyring, load_keyring
from flowstone.warn import warn_once

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

StorageLike = Storage | Path | str
DEFAULT_MEMORY_BYTES: Final = 64 << 20
_REASONS: Final = {reason.value: reason for reason in MissReason}
_ABSENT: Final = Miss(MissReason.ABSENT)


class ResultStore:
    """Where results are kept and found again.

    Looking up never raises for what it finds: a broken, foreign, expired or unreadable record, or a store in trouble,
    is a miss with its reason. May be shared by threads; pickles.
    """

    def __init__(
        self,
        result_storage: StorageLike | None = None,
        metadata_storage: StorageLike | None = None,
        lock_manager: LockManager | None = None,
        cache_result_in_memory: bool = True,
        serializer: Serializer | str | None = None,
        storage_key_fn: Callable[[], str] | None = None,
        *,
        keyring: Keyring | None = None,
        verify: str = "all",
        safe_serializers_only: bool = False,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        self.result_storage = resolve_storage(_default_path() if result_storage is None else result_storage)
        self.lock_manager = lock_manager
        self.cache_result_in_memory = cache_result_in_memory
        self.serializer = get_serializer("pickle" if serializer is None else serializer)
        self.verify_all = verify == "all"
        self.safe_serializers_only = safe_serializers_only
        self.identity = self.result_storage.identity
        self._keyring = keyring
        self._memory = MemoryLayer(memory_bytes) if cache_result_in_memory and memory_bytes else None

    @property
    def keyring(self) -> Keyring:
        if self._keyring is None:
            self._keyring = load_keyring(
                os.environ.get("FLOWSTONE_RESULTS_SIGNING_KEY"), _home(), lambda text: warn_once("signing key", text)
            )
        return self._keyring

    # --- looking up ----------------------------------------------------------------------------------------------

    def lookup(self, key: str, now: float, max_age: float | None = None, load: bool = True) -> Hit | Miss:
        """Return the fresh record under `key` with its value, or why there is none.

        `now` is seconds since the epoch, `max_age` the oldest record this reader accepts, in seconds. Without `load`
        only the head is read and checked, and the value can be loaded later.
        """
        try:
            memory = self._memory
            if memory is not None and (kept := memory.entries.get(key)) is not None:
                if self.result_storage.stamp(key) == kept.stamp:
                    kept.used = True
                    stale = self._stale(kept.head, now, max_age)
                    if stale is not None:
                        return stale
                    if kept.value is not NO_VALUE or not load:
                        return Hit(self, kept.head, kept.value)
                    return self._loaded(kept.head, kept.data)
                memory.forget(key)
            return self._look_in_storage(key, now, max_age, load)
        except RecordError as error:
            return Miss(_REASONS[error.reason], str(error))
        except Exception as error:
            return Miss(MissReason.UNREADABLE, f"{type(error).__name__}: {error}")

    def _look_in_storage(self, key: str, now: float, max_age: float | None, load: bool) -> Hit | Miss:
        if not load:
            return self._look_at_head(key, now, max_age)
        blob = self.result_storage.get(key)
        if blob is None:
            return _ABSENT
        head = open_head(blob.data, key, self.keyring.reading)
        stale = self._stale(head, now, max_age)
        if stale is not None:
            return stale
        return self._loaded(head, blob.data, blob)

    def _look_at_head(self, key: str, now: float, max_age: float | None) -> Hit | Miss:
        head = self.read_head(key)
        if head is None:
            return _ABSENT
        return self._stale(head, now, max_age) or Hit(self, head, NO_VALUE)

    def read_head(self, key: str) -> Head | None:
        """Read and authenticate the head of the record under `key` without its payload; None if there is none.

        Raises RecordError or StoreError.
        """
        data = self.result_storage.head(key, JOINT_SIZE)
        if data is None:
            return None
        if len(data) == JOINT_SIZE and head_size(data) > JOINT_SIZE:
            data = self.result_storage.head(key, head_size(data)) or b""
        return open_head(data, key, self.keyring.reading)

    def _stale(self, head: Head, now: float, max_age: float | None) -> Miss | None:
        if head.expires <= now:
            return Miss(MissReason.EXPIRED, "", head)
        if max_age is not None and now - head.created >= max_age:
            return Miss(MissReason.TOO_OLD, "", head)
        return None

    def _loaded(self, head: Head, data: Buffer, blob: Blob | None = None) -> Hit | Miss:
        """Load the value of a record that is fresh; keep the record in memory if it came from the storage."""
        try:
            serializer = get_serializer(head.serializer)
        except FlowstoneException as error:
            return Miss(MissReason.UNKNOWN_SERIALIZER, str(error), head)
        if self.safe_serializers_only and not serializer.safe:
            return Miss(MissReason.UNSAFE_SERIALIZER, f"{head.serializer} can execute code", head)
        main, buffers = open_payload(head, data, head.start, buffers_too=self.verify_all)
        try:
            value = serializer.load_parts(main, [_private(buffer) for buffer in buffers])
        except Exception as error:
            return Miss(MissReason.CANNOT_LOAD, f"{type(error).__name__}: {error}", head)
        if self._memory is not None and blob is not None and isinstance(data, bytes):
            self._memory.keep(head.key, blob.stamp, head, data, value)
        return Hit(self, head, value)

    def load(self, head: Head, *, mmap: bool = False) -> object:
        """Read the value of the very record that `head` opened; raises MissingResult if it cannot be had any more."""
        try:
            blob = self.result_storage.get(head.key)
            if blob is None:
                raise MissingResult(f"The record of key {head.key!r} is gone.")
            found = open_head(blob.data, head.key, self.keyring.reading)
            if found.tag != head.tag:
                raise MissingResult(f"The record of key {head.key!r} has been replaced since it was looked up.")
            hit = self._loaded(found, blob.data)
        except (RecordError, StoreError) as error:
            raise MissingResult(f"The result under key {head.key!r} cannot be read: {error}") from error
        if isinstance(hit, Miss):
            raise MissingResult(f"The result under key {head.key!r} cannot be loaded: {hit}.")
        return hit.value

    # --- writing -------------------------------------------------------------------------------------------------

    def stage(self, info: RecordInfo, value: object, *, hold: bool = False) -> StagedRecord:
        """Take a snapshot of `value`, sealed and ready to be published.

        With `hold` large buffers are copied too; without it the record must be published before anyone else can touch
        the value. Raises SerializationError if the value cannot be written.
        """
        serializer = self.serializer
        try:
            main, buffers = serializer.dump_parts(value)
        except SerializationError:
            raise
        except Exception as error:
            raise SerializationError(
                f"The result of {info.task_name or info.key} cannot be written by the serializer {serializer.name!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        kept: Sequence[Buffer] = [bytes(buffer) for buffer in buffers] if hold else buffers
        info = info._replace(serializer=serializer.name, serializer_version=serializer.version)
        signer = self.keyring.writing
        sealed = seal(info, main, kept, key_id=signer.id, secret=signer.secret)
        return StagedRecord(self, info, serializer, main, kept, sealed)

    def publish(self, staged: Sequence[StagedRecord]) -> None:
        """Make the records visible, all of them or none; raises StoreError if that cannot be done."""
        if len(staged) == 1:
            record = staged[0]
            self.result_storage.put(record.key, [record.sealed.head, *record.sealed.payload])
        elif staged:
            self.result_storage.publish(
                [(record.key, [record.sealed.head, *record.sealed.payload]) for record in staged]
            )

    # --- locks ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"ResultStore({self.result_storage!r}, serializer={self.serializer.name!r})"


def _private(buffer: memoryview) -> Any:
    """Return memory of the caller's own: a copy-on-write view of a mapped file is that already."""
    return bytearray(buffer) if buffer.readonly else buffer


def _home() -> str:
    return os.path.expanduser(os.environ.get("FLOWSTONE_HOME", "~/.flowstone"))


def _default_path() -> str:
    return os.path.join(_home(), "storage")
