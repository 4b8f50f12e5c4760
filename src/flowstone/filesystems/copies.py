"""Two storages as one: a near one that holds copies, and a far one that has the last word.

Whatever lies in the near storage begins with a note: the far storage's stamp at the time of writing. A copy is good
while the far storage, asked, still gives that stamp. So a refresh, a removal or a group that anybody publishes far
away is seen at the next look, and a copy that was torn, late or of another place is at worst fetched again.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

from flowstone.exceptions import StoreError
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, SweepReport, WriteMode
from flowstone.filesystems.in_front import InFront
from flowstone.warn import warn_once

Kind = Literal["copy", "own"]

_MAGIC = b"FLSNOTE1"
_BLOCK = 64  # the blob after the note stays aligned
_LENGTH = slice(8, 12)
_START = 12
_LOOK = 512  # bytes that hold any note that a real stamp makes


def write_note(kind: Kind, stamp: Stamp | None) -> bytes:
    """Return the note that a near storage's blob begins with: what it is, and the far stamp it is good for."""
    text = json.dumps([kind, stamp], separators=(",", ":"), default=repr).encode()
    size = -(-(_START + len(text)) // _BLOCK) * _BLOCK
    return (_MAGIC + size.to_bytes(4, "little") + text).ljust(size)


def read_note(data: bytes | memoryview) -> tuple[Kind, Stamp | None, int] | None:
    """Return what a note says, and its length; None if `data` begins with none."""
    if bytes(data[:8]) != _MAGIC:
        return None
    size = int.from_bytes(data[_LENGTH], "little")
    try:
        said = json.loads(bytes(data[_START:size]))
    except (ValueError, RecursionError):
        return None
    match said:
        case ["copy" | "own" as kind, None | list() as stamp]:
            return kind, None if stamp is None else Stamp(stamp), size
    return None


class Copied(InFront):
    """Reads `far` through copies in `near`; writes go to `far` first.

    With `trusting`, a copy that is there is good without asking: for records that never change.
    """

    def __init__(self, near: Storage, far: Storage, *, trusting: bool = False) -> None:
        super().__init__(far)
        self.near = near
        self.far = far
        self.trusting = trusting

    def get(self, key: str) -> Blob | None:
        copy = self._copy(key) if self.trusting else None
        if copy is None:
            stamp = self.far.stamp(key)
            if stamp is None:
                return None
            copy = None if self.trusting else self._copy(key, stamp)
        return copy or self._fetch(key)

    def stamp(self, key: str) -> Stamp | None:
        if self.trusting:
            copy = self._copy(key)
            if copy is not None:
                return copy.stamp
        return self.far.stamp(key)

    def head(self, key: str, size: int) -> bytes | None:
        stamp = None if self.trusting else self.far.stamp(key)
        if stamp is None and not self.trusting:
            return None
        copy = self._copy(key, stamp)
        return self.far.head(key, size) if copy is None else bytes(copy.data[:size])

    def _copy(self, key: str, stamp: Stamp | None = None) -> Blob | None:
        """Return the copy if it is one of the version `stamp`, or of any version if that is None."""
        with suppress(StoreError):
            found = self.near.get(key)
            if found is not None and (note := read_note(found.data)) and note[0] == "copy":
                _, noted, size = note
                if noted is not None and stamp in (None, noted):
                    return Blob(memoryview(found.data)[size:], noted)
        return None

    def _fetch(self, key: str) -> Blob | None:
        blob = self.far.get(key)
        if blob is not None:
            self._keep(key, blob.stamp, [blob.data])
        return blob

    def _keep(self, key: str, stamp: Stamp, parts: Sequence[Buffer]) -> None:
        with suppress(StoreError):  # a near storage that is full or broken makes us slower, no more
            self.near.put(key, [write_note("copy", stamp), *parts])

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        stamp = self.far.put(key, parts, mode)
        if stamp is not None:
            self._keep(key, stamp, parts)
        return stamp

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        """Publish far away; the copies come at the first look, since only then their stamps are known."""
        self.far.publish(group)
        if self.trusting:
            for key, _ in group:
                _discard(self.near, key)

    def delete(self, key: str) -> bool:
        found = self.far.delete(key)
        _discard(self.near, key)
        return found

    def touch(self, key: str) -> None:
        self.near.touch(key)
        self.far.touch(key)

    def flush(self) -> None:
        self.near.flush()
        self.far.flush()

    def sweep(self) -> SweepReport:
        return SweepReport(*(one + other for one, other in zip(self.near.sweep(), self.far.sweep())))


class Overlaid(InFront):
    """Reads `far` through copies in `near`, and keeps all writes in `near`: the far storage is somebody else's.

    An own blob hides the far one until that changes: the later of the two is the one to be seen. Blobs in `near` that
    bear no note are own ones from before there was a far storage. While the far storage cannot be reached, what is
    near is taken as good, and it is asked again only after some seconds.
    """

    PATIENCE_SECONDS = 30.0

    def __init__(
        self, near: Storage, far: Storage, *, trusting: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(near)
        self.near = near
        self.far = far
        self.trusting = trusting
        self._clock = clock
        self._away_until = -math.inf

    @property
    def coordinates(self) -> bool:  # type: ignore[override]  # two storages are looked at, one after the other
        return False

    @property
    def identity(self) -> str:
        return f"overlay:{self.near.identity}|{self.far.identity}"

    def get(self, key: str) -> Blob | None:
        blob = self._near(key, _ANY) if self.trusting else None
        if blob is not None:
            return blob
        stamp = self._ask(key)
        blob = self._near(key, stamp)
        if blob is not None or not isinstance(stamp, Stamp):
            return blob
        blob = self.far.get(key)
        if blob is not None:
            with suppress(StoreError):
                self.near.put(key, [write_note("copy", blob.stamp), blob.data])
        return blob

    def stamp(self, key: str) -> Stamp | None:
        near = self._near_stamp(key, _ANY) if self.trusting else None
        if near is not None:
            return near
        stamp = self._ask(key)
        return self._near_stamp(key, stamp) or (stamp if isinstance(stamp, Stamp) else None)

    def head(self, key: str, size: int) -> bytes | None:
        blob = self.get(key)
        return None if blob is None else bytes(blob.data[:size])

    def _near(self, key: str, stamp: Stamp | _Any | None) -> Blob | None:
        """Return the near blob if it was written when the far stamp was `stamp`."""
        found = self.near.get(key)
        if found is None:
            return None
        kind, noted, size = read_note(found.data) or _UNNOTED
        if stamp is not _ANY and noted != stamp:
            return None
        data = memoryview(found.data)[size:] if size else found.data
        return Blob(data, _own(found.stamp) if kind == "own" or noted is None else noted)

    def _near_stamp(self, key: str, stamp: Stamp | _Any | None) -> Stamp | None:
        """Return the stamp of what `_near` would return."""
        version = self.near.stamp(key)  # before the note: should a newer blob come between, it will show next time
        if version is None:
            return None
        kind, noted, _ = read_note(self.near.head(key, _LOOK) or b"") or _UNNOTED
        if stamp is not _ANY and noted != stamp:
            return None
        return _own(version) if kind == "own" or noted is None else noted

    def _ask(self, key: str) -> Stamp | _Any | None:
        """Return the far stamp, or _ANY while the far storage cannot be reached."""
        if self._clock() < self._away_until:
            return _ANY
        try:
            return self.far.stamp(key)
        except StoreError as error:
            self._away_until = self._clock() + self.PATIENCE_SECONDS
            warn_once(("far", self.far.identity), f"{self.far.identity} cannot be reached, going on without: {error}")
            return _ANY

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        if mode == WriteMode.CREATE_ONLY and self.stamp(key) is not None:
            return None
        stamp = self.near.put(key, [self._own_note(key), *parts])
        return None if stamp is None else _own(stamp)

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        self.near.publish([(key, [self._own_note(key), *parts]) for key, parts in group])

    def _own_note(self, key: str) -> bytes:
        stamp = self._ask(key)
        return write_note("own", stamp if isinstance(stamp, Stamp) else None)

    def delete(self, key: str) -> bool:
        found = self.stamp(key) is not None
        self.near.delete(key)
        if isinstance(self._ask(key), Stamp):
            raise StoreError(f"{key!r} is in {self.far.identity} too, which is read-only here; delete it over there.")
        return found

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        seen = set()
        with suppress(StoreError):
            for entry in self.far.scan(prefix):
                seen.add(entry.key)
                yield entry
        for entry in self.near.scan(prefix):
            kind, _, size = read_note(self.near.head(entry.key, _LOOK) or b"") or _UNNOTED
            if kind == "own" and entry.key not in seen:
                yield entry._replace(size=entry.size - size)


class _Any:
    """Stands for a far stamp that could not be asked: every near blob fits it."""


_ANY = _Any()
_UNNOTED: tuple[Kind, Stamp | None, int] = ("own", None, 0)


class Trusted(InFront):
    """Asks `far` for the stamp of a key at most once in `seconds`."""

    _MOST = 100_000

    def __init__(self, far: Storage, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(far)
        self.far = far
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._writes = 0
        self._answers: dict[str, tuple[float, Stamp]] = {}

    def get(self, key: str) -> Blob | None:
        writes = self._writes
        blob = self.far.get(key)
        self._learn(key, None if blob is None else blob.stamp, writes)
        return blob

    def stamp(self, key: str) -> Stamp | None:
        until, stamp = self._answers.get(key, (-math.inf, None))
        if self._clock() < until:
            return stamp
        writes = self._writes
        stamp = self.far.stamp(key)
        self._learn(key, stamp, writes)
        return stamp

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        stamp = self.far.put(key, parts, mode)
        self._forget([key])
        return stamp

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        self.far.publish(group)
        self._forget([key for key, _ in group])

    def delete(self, key: str) -> bool:
        found = self.far.delete(key)
        self._forget([key])
        return found

    def _learn(self, key: str, stamp: Stamp | None, writes: int) -> None:
        """Trust an answer, unless we wrote since it was asked for: it may be the one from before."""
        with self._lock:
            if stamp is not None and writes == self._writes:
                if len(self._answers) >= self._MOST:
                    self._answers.clear()
                self._answers[key] = (self._clock() + self.seconds, stamp)

    def _forget(self, keys: Sequence[str]) -> None:
        with self._lock:
            self._writes += 1
            for key in keys:
                self._answers.pop(key, None)


def _own(stamp: Stamp) -> Stamp:
    return Stamp(("own", *stamp))


def _discard(storage: Storage, key: str) -> None:
    with suppress(StoreError):
        storage.delete(key)
