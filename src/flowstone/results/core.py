"""Looking records up, staging and publishing them: the part of a result store that the engine works with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flowstone.exceptions import ConfigurationError, MissingResult, RecordError, SerializationError, StoreError
from flowstone.filesystems.base import Storage
from flowstone.records import (
    JOINT_SIZE,
    SPLIT,
    Buffer,
    Head,
    MissReason,
    RecordInfo,
    bytes_to_open,
    open_head,
    open_payload,
    seal,
)
from flowstone.results.found import NOT_LOADED, Hit, Miss, StagedRecord
from flowstone.results.memory import Kept, MemoryLayer, is_immutable
from flowstone.serializers import Dumped, Serializer, get_serializer
from flowstone.signing import Keyring

_REASONS: Final = {reason.value: reason for reason in MissReason}
_ABSENT: Final = Miss(MissReason.ABSENT)


class RecordStore:
    """Records in a storage, or with their payloads in one storage and their heads in another.

    Looking up never raises for what it finds: a broken, foreign, expired or unreadable record, or a storage in trouble,
    is a miss with its reason. May be used from any thread.
    """

    result_storage: Storage
    metadata_storage: Storage | None
    serializer: Serializer
    verify_all: bool
    safe_serializers_only: bool
    identity: str
    _memory: MemoryLayer | None
    _heads: Storage

    @property
    def keyring(self) -> Keyring:
        raise NotImplementedError

    @property
    def memory_speed(self) -> bool:
        """Whether every call is quick enough to be made inline on an event loop."""
        return self.result_storage.memory_speed and self._heads.memory_speed

    # --- looking up ----------------------------------------------------------------------------------------------

    def lookup(self, key: str, now: float, max_age: float | None = None, load: bool = True) -> Hit | Miss:
        """Return the fresh record under `key` with its value, or why there is none.

        `now` is seconds since the epoch, `max_age` the oldest record this reader accepts, in seconds. Without `load`
        only the head is read and checked; the value can be loaded from the hit.
        """
        try:
            memory = self._memory
            if memory is not None and (kept := memory.entries.get(key)) is not None:
                if kept.stamp == self._heads.stamp(key):
                    return self._remembered(kept, now, max_age, load)
                memory.forget(key)
            return self._stored(key, now, max_age) if load else self._head_only(key, now, max_age)
        except RecordError as error:
            return Miss(_REASONS[error.reason], str(error))
        except Exception as error:
            return Miss(MissReason.UNREADABLE, f"{type(error).__name__}: {error}")

    def _remembered(self, kept: Kept, now: float, max_age: float | None, load: bool) -> Hit | Miss:
        head = kept.head
        if head.expires <= now or max_age is not None:
            stale = _stale(head, now, max_age)
            if stale is not None:
                return stale
        kept.used = True
        if not load:
            return Hit(self, head, NOT_LOADED)
        if kept.value is not NOT_LOADED and not self.safe_serializers_only:
            return Hit(self, head, kept.value)
        return self._loaded(head, kept.data, head.start, checked=True)

    def _stored(self, key: str, now: float, max_age: float | None) -> Hit | Miss:
        blob = self._heads.get(key)
        if blob is None:
            return _ABSENT
        data, stamp = blob
        head = open_head(data, key, self.keyring.reading)
        stale = _stale(head, now, max_age)
        if stale is not None:
            return stale
        if head.flags & SPLIT:
            return self._from_halves(head)
        found = self._loaded(head, data, head.start)
        if self._memory is not None and isinstance(found, Hit) and type(data) is bytes:
            value = found.value if is_immutable(found.value) else NOT_LOADED
            self._memory.keep(key, Kept(stamp, head, data, value))
        return found

    def _head_only(self, key: str, now: float, max_age: float | None) -> Hit | Miss:
        head = self.read_head(key)
        if head is None:
            return _ABSENT
        stale = _stale(head, now, max_age)
        if stale is not None:
            return stale
        if head.split and self.result_storage.stamp(key) is None:
            return _half_missing(head)
        return Hit(self, head, NOT_LOADED)

    def read_head(self, key: str) -> Head | None:
        """Read and authenticate the head of the record under `key` without its payload; None if there is none.

        Raises RecordError or StoreError.
        """
        data = self._heads.head(key, JOINT_SIZE)
        if data is None:
            return None
        needed = bytes_to_open(data)
        if needed > len(data) == JOINT_SIZE:
            data = self._heads.head(key, needed) or b""
        return open_head(data, key, self.keyring.reading)

    def verify(self, key: str) -> Head | None:
        """Check every byte of the record under `key` without deserialising anything; None if there is none.

        Raises RecordError with the reason, or StoreError.
        """
        blob = self._heads.get(key)
        if blob is None:
            return None
        head = open_head(blob.data, key, self.keyring.reading)
        if not head.split:
            open_payload(head, blob.data, head.start)
            return head
        payload = None if self.metadata_storage is None else self.result_storage.get(key)
        if payload is None:
            missing = _half_missing(head)
            raise RecordError(f"The record of key {key!r}: {missing}.", reason=missing.reason.value)
        open_payload(head, payload.data, 0)
        return head

    def _from_halves(self, head: Head, *, mmap: bool = False) -> Hit | Miss:
        payload = None if self.metadata_storage is None else self.result_storage.get(head.key)
        return _half_missing(head) if payload is None else self._loaded(head, payload.data, 0, mmap=mmap)

    def _loaded(
        self, head: Head, data: Buffer, offset: int, *, checked: bool = False, mmap: bool = False
    ) -> Hit | Miss:
        """Check the payload of a fresh record and load its value."""
        try:
            serializer = self.serializer_of(head)
        except ConfigurationError as error:
            return Miss(MissReason.UNKNOWN_SERIALIZER, str(error), head)
        if self.safe_serializers_only and not serializer.safe:
            return Miss(MissReason.UNSAFE_SERIALIZER, f"it was written with {head.serializer!r}", head)
        main, views = open_payload(head, data, offset, buffers_too=self.verify_all, checked=checked)
        buffers = [view.toreadonly() if mmap else _private(view) for view in views] if views else ()
        try:
            return Hit(self, head, serializer.load_parts(main, buffers))
        except Exception as error:
            return Miss(MissReason.CANNOT_LOAD, f"{type(error).__name__}: {error}", head)

    def serializer_of(self, head: Head) -> Serializer:
        """Return the serializer that the record names, whatever this store writes with."""
        mine = self.serializer
        if mine.type == head.serializer or mine.name == head.serializer:
            return mine
        return get_serializer(head.serializer)

    def load(self, head: Head, *, mmap: bool = False) -> Any:
        """Read the value of the very record that `head` opened, anew for each call.

        With `mmap` its arrays are read-only views of the stored file where the storage can map files. Raises
        MissingResult if it cannot be had any more.
        """
        try:
            blob = self._heads.get(head.key)
            if blob is None:
                raise MissingResult(f"The record of key {head.key!r} is gone.")
            found = open_head(blob.data, head.key, self.keyring.reading)
            if found.tag != head.tag:
                raise MissingResult(f"The record of key {head.key!r} has been replaced since it was looked up.")
            if found.split:
                outcome = self._from_halves(found, mmap=mmap)
            else:
                outcome = self._loaded(found, blob.data, found.start, mmap=mmap)
        except (RecordError, StoreError) as error:
            raise MissingResult(f"The result under the key {head.key!r} cannot be read: {error}") from error
        if isinstance(outcome, Miss):
            raise MissingResult(f"The result under the key {head.key!r} cannot be loaded: {outcome}.")
        return outcome.value

    # --- writing -------------------------------------------------------------------------------------------------

    def stage(self, info: RecordInfo, value: object, *, hold: bool = False) -> StagedRecord:
        """Take a snapshot of `value`, sealed and ready to be published.

        With `hold` large buffers are copied too; without it the record is to be published before anybody can change
        the value. Raises SerializationError, which says what cannot be written and where it is.
        """
        serializer, main, views = _dumped(self.serializer, info, value)
        if self.safe_serializers_only and not serializer.safe:
            raise SerializationError(
                f"The result of {info.task_name or info.key} would be written with the serializer {serializer.name!r}, "
                "which can execute code when it reads; the setting results.safe_serializers_only forbids that. "
                "Use json, arrow, npy or auto."
            )
        buffers: Sequence[Buffer] = [bytes(view) for view in views] if hold else views
        sealed = seal(
            info,
            main,
            buffers,
            self.keyring.writing,
            serializer=serializer.name,
            serializer_version=serializer.version,
            split=self.metadata_storage is not None,
        )
        return StagedRecord(self, info.key, sealed, main, buffers)

    def publish(self, staged: Sequence[StagedRecord]) -> None:
        """Make the records visible, all of them or none; raises StoreError if that cannot be done.

        Of split records the heads come last: until they are there the payloads are no records, and a payload that
        does not fit its head is a miss.
        """
        if self.metadata_storage is not None:
            self.result_storage.publish([(record.key, record.sealed.payload) for record in staged])
            self.metadata_storage.publish([(record.key, [record.sealed.head]) for record in staged])
        elif len(staged) == 1:
            record = staged[0]
            self.result_storage.put(record.key, [record.sealed.head, *record.sealed.payload])
        elif staged:
            self.result_storage.publish(
                [(record.key, [record.sealed.head, *record.sealed.payload]) for record in staged]
            )

    def remove(self, key: str) -> bool:
        """Remove the record under `key`, its head first; say whether there was one. Raises StoreError."""
        if self._memory is not None:
            self._memory.forget(key)
        was_there = self._heads.delete(key)
        if self.metadata_storage is not None:
            was_there = self.result_storage.delete(key) or was_there
        return was_there


def _stale(head: Head, now: float, max_age: float | None) -> Miss | None:
    if head.expires <= now:
        return Miss(MissReason.EXPIRED, f"it was good for {head.expires - head.created:g} s", head)
    if max_age is not None and now - head.created >= max_age:
        return Miss(MissReason.TOO_OLD, f"it is {now - head.created:g} s old, at most {max_age:g} s are accepted", head)
    return None


def _half_missing(head: Head) -> Miss:
    return Miss(MissReason.HALF_MISSING, "its head is there but not its payload", head)


def _private(view: memoryview) -> Buffer:
    """Return memory of the caller's own: a copy-on-write view of a mapped file is that already."""
    return bytearray(view) if view.readonly else view


def _dumped(serializer: Serializer, info: RecordInfo, value: object) -> Dumped:
    try:
        return serializer.dump_for_record(value)
    except SerializationError:
        raise
    except Exception as error:
        raise SerializationError(
            f"The result of {info.task_name or info.key} cannot be written with the serializer {serializer.name!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
