"""A storage whose writes are done in the background, in order, out of a bounded queue."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from weakref import WeakSet

from flowstone.exceptions import StoreError
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode, check_key
from flowstone.filesystems.in_front import InFront
from flowstone.warn import warn_once

_IDLE_SECONDS = 2.0
_MOST_ALIASES = 10_000


class _Job:
    """One put, or one publish: blobs that go together."""

    __slots__ = ("blobs", "size", "stamps")

    def __init__(self, blobs: dict[str, bytes], stamps: dict[str, Stamp]) -> None:
        self.blobs = blobs
        self.stamps = stamps
        self.size = sum(map(len, blobs.values()))


class WriteBehind(InFront):
    """Writes to `storage` in the background; this object sees its writes at once, others when they are done.

    At most `max_bytes` in `max_jobs` writes wait; who wants to write more waits. Writes of one key stay in order.
    `flush` waits for all and raises StoreError if some failed; what nobody flushed is flushed when the process ends.
    A killed process loses what waits. CREATE_ONLY and deletions are done before they return.
    """

    def __init__(self, storage: Storage, *, max_bytes: int, max_jobs: int = 1000, workers: int = 4) -> None:
        super().__init__(storage)
        self.storage = storage
        self._max_bytes = max_bytes
        self._max_jobs = max_jobs
        self._max_workers = workers
        self._line = os.urandom(8).hex()
        self._number = 0
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """Start with an empty queue: at first, and in a forked child, whose parent does what was waiting."""
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._waiting: dict[str, tuple[bytes, Stamp]] = {}
        self._bytes = 0
        self._workers = 0
        self._failures: list[str] = []
        # What our stamp of a write became when it was done, so that the blob keeps its stamp for us.
        self._aliases: dict[str, tuple[Stamp, Stamp]] = {}

    # Reading: what waits comes first.

    def get(self, key: str) -> Blob | None:
        check_key(key)
        waiting = self._waiting.get(key)
        if waiting is not None:
            return Blob(*waiting)
        blob = self.storage.get(key)
        return None if blob is None else Blob(blob.data, self._known(key, blob.stamp))

    def stamp(self, key: str) -> Stamp | None:
        check_key(key)
        waiting = self._waiting.get(key)
        if waiting is not None:
            return waiting[1]
        stamp = self.storage.stamp(key)
        return None if stamp is None else self._known(key, stamp)

    def head(self, key: str, size: int) -> bytes | None:
        check_key(key)
        waiting = self._waiting.get(key)
        return self.storage.head(key, size) if waiting is None else waiting[0][:size]

    def _known(self, key: str, stamp: Stamp) -> Stamp:
        done, ours = self._aliases.get(key, (None, stamp))
        return ours if done == stamp else stamp

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield what is in the storage, after waiting for the writes under way."""
        self._wait_until_idle()
        return self.storage.scan(prefix)

    # Writing.

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        check_key(key)
        if mode == WriteMode.CREATE_ONLY or _size(parts) > self._max_bytes:
            self._wait_for(key)
            return self.storage.put(key, parts, mode)
        return self._accept({key: b"".join(parts)})[key]

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        for key, _ in group:
            check_key(key)
        if sum(_size(parts) for _, parts in group) > self._max_bytes:
            for key, _ in group:
                self._wait_for(key)
            self.storage.publish(group)
        elif group:
            self._accept({key: b"".join(parts) for key, parts in group})

    def delete(self, key: str) -> bool:
        check_key(key)
        self._wait_for(key)
        return self.storage.delete(key)

    def _accept(self, blobs: dict[str, bytes]) -> dict[str, Stamp]:
        """Put a job into the queue when there is room for it."""
        _flush_when_this_process_ends()
        size = sum(map(len, blobs.values()))
        self._changed.acquire()
        try:
            self._help_until(lambda: not self._bytes or self._has_room(size))
            stamps = {key: self._next_stamp() for key in blobs}
            self._queue.append(_Job(blobs, stamps))
            self._bytes += size
            # One step, so that readers, who take no lock, see all of a group or none of it.
            self._waiting.update({key: (blobs[key], stamps[key]) for key in blobs})
            if self._workers < min(self._max_workers, len(self._queue) + len(self._running)):
                self._start_worker()
            self._changed.notify_all()
            return stamps
        finally:
            self._changed.release()

    def _has_room(self, size: int) -> bool:
        return self._bytes + size <= self._max_bytes and len(self._queue) < self._max_jobs

    def _next_stamp(self) -> Stamp:
        self._number += 1
        return Stamp(("waiting", self._line, self._number))

    def _start_worker(self) -> None:
        with suppress(RuntimeError):  # no new threads when the interpreter is ending: the last flush does the work
            threading.Thread(target=self._work, name="flowstone-write-behind", daemon=True).start()
            self._workers += 1

    def _work(self) -> None:
        """Do jobs until there have been none for some time."""
        while True:
            with self._changed:
                while (job := self._next_job()) is None:
                    if not self._changed.wait(_IDLE_SECONDS) and not self._queue:
                        self._workers -= 1
                        return
            self._do(job)

    def _next_job(self) -> _Job | None:
        """Take the first job none of whose keys an earlier one still has to write."""
        taken = {key for job in self._running for key in job.blobs}
        for job in self._queue:
            if taken.isdisjoint(job.blobs):
                self._queue.remove(job)
                self._running.append(job)
                return job
            taken.update(job.blobs)
        return None

    def _do(self, job: _Job) -> None:
        failure: str | None = "it was interrupted"
        done: dict[str, Stamp | None] = {}
        try:
            done = self._write(job)
            failure = None
        except Exception as error:  # told by the next flush: there is nobody here to raise it to
            failure = f"{type(error).__name__}: {error}"
        finally:
            with self._changed:
                self._finish(job, done, failure)
                self._changed.notify_all()

    def _write(self, job: _Job) -> dict[str, Stamp | None]:
        if len(job.blobs) == 1:
            return {key: self.storage.put(key, [data]) for key, data in job.blobs.items()}
        self.storage.publish([(key, [data]) for key, data in job.blobs.items()])
        return {}

    def _finish(self, job: _Job, done: dict[str, Stamp | None], failure: str | None) -> None:
        self._running.remove(job)
        self._bytes -= job.size
        if failure is not None:
            self._failures.append(failure)
        for key, stamp in job.stamps.items():
            became = done.get(key)
            if became is not None:
                self._remember(key, became, stamp)
        # A new dict, so that of a group that failed readers see all blobs go at once.
        mine = set(job.stamps.values())
        self._waiting = {key: entry for key, entry in self._waiting.items() if entry[1] not in mine}

    def _remember(self, key: str, became: Stamp, ours: Stamp) -> None:
        if len(self._aliases) >= _MOST_ALIASES:
            self._aliases.clear()
        self._aliases[key] = (became, ours)

    # Waiting.

    def flush(self) -> None:
        self._wait_until_idle()
        self.storage.flush()
        with self._changed:
            failures, self._failures = self._failures, []
        if failures:
            raise StoreError(f"{len(failures)} writes to {self.identity} in the background failed: {failures[0]}")

    def _wait_until_idle(self) -> None:
        with self._changed:
            self._help_until(lambda: not self._queue and not self._running)

    def _wait_for(self, key: str) -> None:
        with self._changed:
            self._help_until(lambda: key not in self._waiting)

    def _help_until(self, done: Callable[[], bool]) -> None:
        """Do jobs from the queue until `done()`, with the lock held except while doing one.

        Waiting alone would not do: there may be no thread that works, at the end of the process for one.
        """
        while not done():
            job = self._next_job()
            if job is None:
                self._changed.wait()
                continue
            self._changed.release()
            try:
                self._do(job)
            finally:
                self._changed.acquire()


def _size(parts: Sequence[Buffer]) -> int:
    return sum(memoryview(part).nbytes for part in parts)


_all: WeakSet[WriteBehind] = WeakSet()


def _flush_all() -> None:
    for storage in list(_all):
        try:
            storage.flush()
        except StoreError as error:
            warn_once(("write-behind", storage.identity), f"At the end of the process: {error}")


_arranged_in = 0


def _flush_when_this_process_ends() -> None:
    """Make sure of `_flush_all` in children of multiprocessing too, which end without `atexit` when they were forked."""
    global _arranged_in  # a memo of the process it was done in, made stale by a fork
    if _arranged_in == os.getpid():
        return
    _arranged_in = os.getpid()
    module = sys.modules.get("multiprocessing.process")
    if module is not None and module.parent_process() is not None:
        from multiprocessing.util import Finalize  # loaded already

        Finalize(None, _flush_all, exitpriority=100)


def _renew_after_fork() -> None:
    for storage in list(_all):
        storage._renew()


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
