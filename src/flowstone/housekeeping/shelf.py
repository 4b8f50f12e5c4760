"""A result store as its keeper sees it: what lies under each key, and the lock on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blake3 import blake3

from flowstone.clock import current_clock
from flowstone.exceptions import ConfigurationError, LockError
from flowstone.filesystems.base import Entry, Storage, check_key
from flowstone.filesystems.local import LocalFileSystem
from flowstone.housekeeping.entry import OURS, RecordEntry, RecordState
from flowstone.housekeeping.folder import Folder
from flowstone.housekeeping.judging import Verdict, judge, signer_of
from flowstone.housekeeping.snapshots import Beginning, Reader, StorageReader
from flowstone.locking.base import holder_path

if TYPE_CHECKING:
    from flowstone.records import Head
    from flowstone.results import ResultStore

_SIGNED = (*OURS, RecordState.FOREIGN)

UNREADABLE = b""
"""Stands for the version of a record that cannot be read."""


class Shelf:
    """What all tools do with a store. `now` is seconds since the epoch, the time by which records expire."""

    def __init__(self, store: ResultStore, now: float | None = None) -> None:
        self.store = store
        self.now = current_clock().now() if now is None else now
        self.heads: Storage = store.metadata_storage or store.result_storage
        self.payloads: Storage | None = None if store.metadata_storage is None else store.result_storage
        self.reader = reader_of(self.heads)
        self.payload_reader = None if self.payloads is None else reader_of(self.payloads)
        self._lock_holder = holder_path(None)

    def find(self, key: str) -> RecordEntry | None:
        """Return the record under `key`, or None; raises StoreError and KeyPathError."""
        check_key(key)
        listed = self.reader.listed(key)
        return None if listed is None else self.entry(listed)

    def entry(self, listed: Entry) -> RecordEntry | None:
        """Look into a record of the listing, at its head alone; None if it is gone meanwhile."""
        try:
            found = self.look(listed.key, listed.size)
        except OSError as error:
            return _unreadable(listed, error)
        if found is None:
            return None
        verdict, beginning = found
        size = listed.size if beginning.size is None else beginning.size
        if self.payloads is not None and verdict.head is not None:
            size = verdict.head.total_size
        return RecordEntry(
            listed.key,
            size,
            listed.modified,
            listed.used,
            verdict.state,
            verdict.detail,
            verdict.head,
            version_of(verdict.head, beginning.data),
            signer_of(beginning.data) if verdict.state in _SIGNED else None,
        )

    def look(self, key: str, listed_size: int | None = None) -> tuple[Verdict, Beginning] | None:
        """Judge the record under `key` by its head; None if there is none. Raises OSError if it cannot be read."""
        beginning = self.reader.begin(key)
        if beginning is None:
            return None
        size = listed_size if beginning.size is None else beginning.size
        verdict = self.judge(key, Beginning(beginning.data, size))
        if verdict.state is RecordState.DAMAGED and beginning.size is None:
            # The listing and the pieces of the head may be of several versions: look again at one.
            snapshot = self.reader.open(key)
            if snapshot is None:
                return None
            with snapshot:
                beginning = snapshot.beginning()
            verdict = self.judge(key, beginning)
        elif verdict.state is RecordState.HALF:
            # A remover takes the head first, a writer writes it last: by now there is none, or one with its payload.
            again = self.reader.begin(key)
            if again is None:
                return None
            verdict, beginning = self.judge(key, again), again
        return verdict, beginning

    def judge(self, key: str, beginning: Beginning) -> Verdict:
        verdict = judge(beginning.data, beginning.size, key, self.store.keyring.reading, self.now)
        head = verdict.head
        if self.payloads is None or verdict.state not in OURS or head is None or not head.split:
            return verdict
        if self.payloads.stamp(key) is not None:
            return verdict
        return verdict._replace(state=RecordState.HALF, detail="its head is there but not its payload")

    def version_at(self, key: str) -> bytes | None:
        """Return the version of the record that is under `key` now, or None."""
        try:
            found = self.look(key)
        except OSError:
            return UNREADABLE
        return None if found is None else version_of(found[0].head, found[1].data)

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Hold the lock on `key` if nobody else does, and say whether nobody does; raises LockError.

        A store without locks has nobody who could hold one.
        """
        manager = self.store.lock_manager
        try:
            held = manager is None or manager.acquire_lock(key, self._lock_holder, 0)
        except ConfigurationError:  # a lock manager that finds it cannot work here
            manager, held = None, True
        try:
            yield held
        finally:
            if manager is not None and held:
                try:
                    manager.release_lock(key, self._lock_holder)
                except LockError:  # lost meanwhile: there is nothing to give back
                    pass

    def flush(self) -> None:
        """Wait until what was removed or written is so everywhere; raises StoreError."""
        self.store.result_storage.flush()
        self.heads.flush()


def reader_of(storage: Storage) -> Reader:
    return Folder(storage) if isinstance(storage, LocalFileSystem) else StorageReader(storage)


def version_of(head: Head | None, data: bytes) -> bytes:
    """Tell one version of a record from all others: by its tag, which nobody can give to another, or by its bytes."""
    return blake3(data).digest() if head is None else head.tag


def _unreadable(listed: Entry, error: OSError) -> RecordEntry:
    detail = str(error) or type(error).__name__
    return RecordEntry(*listed, RecordState.UNREADABLE, detail, None, UNREADABLE)
