"""The contract of a storage: where the bytes of records live.

A storage knows nothing of what the bytes mean; records and serializers stand above it. Keys are names of records; the
bytes come and go as whole blobs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from flowstone.exceptions import KeyPathError

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

Buffer = bytes | bytearray | memoryview

INTERNAL_PREFIX = ".flowstone"
MAX_SEGMENT_BYTES = 240  # 255 is the limit of every common file system; the rest is room for a temporary suffix
MAX_KEY_BYTES = 1000


class Stamp(tuple[object, ...]):
    """Tells one version of a blob from the next; equal stamps mean equal bytes.

    What is inside is the storage's own affair (modification time, inode and size; an entity tag; a counter).
    """

    __slots__ = ()


class Blob(NamedTuple):
    """The bytes under a key and the stamp of this version of them.

    `data` may be a read-only or copy-on-write view into a mapped file; it stays valid when the file is replaced.
    """

    data: bytes | memoryview
    stamp: Stamp


class Entry(NamedTuple):
    """What a listing says of one blob: times are seconds since the epoch, `size` is in bytes."""

    key: str
    size: int
    modified: float
    used: float


class SweepReport(NamedTuple):
    """What a sweep did: leftovers removed and their bytes, leftovers of the living kept, groups finished."""

    removed: int = 0
    bytes: int = 0
    kept: int = 0
    finished: int = 0


class WriteMode:
    """How `put` treats a blob that is already there."""

    OVERWRITE = "overwrite"
    CREATE_ONLY = "create-only"


def check_key(key: str) -> None:
    """Raise KeyPathError unless `key` can be the name of a record.

    A key is a safe relative path: segments joined by "/", none of them empty, "." or "..", none too long for a file
    name, no control characters or backslashes, not under the folder flowstone keeps for itself.
    """
    if key.isalnum() and key.isascii() and len(key) <= MAX_SEGMENT_BYTES:
        return  # a digest in hexadecimal digits, as nearly all keys are
    if not key:
        raise KeyPathError("A cache key must not be empty.")
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise KeyPathError(f"Cache key {key[:40]!r}... is longer than {MAX_KEY_BYTES} bytes; hash it first.")
    if not key.isprintable() or "\\" in key:
        raise KeyPathError(f"Cache key {key!r} holds control characters or a backslash; use printable text.")
    for segment in key.split("/"):
        _check_segment(key, segment)


def _check_segment(key: str, segment: str) -> None:
    if segment in ("", ".", ".."):
        raise KeyPathError(f"Cache key {key!r} is not a relative path inside the store; use names joined by '/'.")
    if segment.startswith(INTERNAL_PREFIX):
        raise KeyPathError(f"Cache key {key!r} begins with {INTERNAL_PREFIX!r}, which flowstone keeps for itself.")
    if segment[0] == "~" or segment[-1] in ". " or ":" in segment:
        raise KeyPathError(f"Cache key {key!r} has a part ({segment!r}) that is not a file name on every system.")
    if len(segment.encode("utf-8", "surrogatepass")) > MAX_SEGMENT_BYTES:
        raise KeyPathError(
            f"Cache key {key[:40]!r}... has a part longer than {MAX_SEGMENT_BYTES} bytes; hash it or split it with '/'."
        )


class Storage(ABC):
    """Keeps blobs under keys.

    Obligations, which the contract suite checks on every implementation:

    - A reader sees a whole blob or none, whatever writers do meanwhile or however they die.
    - `put` and `publish` are durable as the storage's settings promise when they return. They raise StoreError, never
      another error, when they cannot; then nothing changed.
    - `publish` makes all its blobs visible in one step or none of them, also across kill -9 of the writer.
    - A missing blob is None, not an error. A blob that cannot be read for another reason raises StoreError.
    - Every method may be called from any thread and, where the storage can be shared, from any process.
    - Keys have passed `check_key`, and a storage still refuses one that would leave its own place (KeyPathError).
    - A storage pickles; the copy speaks of the same place.
    """

    memory_speed: bool = False
    """Whether every call is quick enough to be made inline on an event loop."""

    coordinates: bool = True
    """Whether `put(mode=CREATE_ONLY)` has exactly one winner among racing writers."""

    atomic_groups: bool = True
    """Whether `publish` keeps its promise for groups of more than one."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Name the place, so that two objects which speak of the same place are known as one ("file:///...")."""

    @abstractmethod
    def get(self, key: str) -> Blob | None:
        """Return the blob under `key`, or None."""

    @abstractmethod
    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp of the blob under `key` without reading it, or None."""

    @abstractmethod
    def head(self, key: str, size: int) -> bytes | None:
        """Return at most the first `size` bytes of the blob under `key`, or None."""

    @abstractmethod
    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        """Write the joined `parts` as one blob; return its stamp, or None if CREATE_ONLY found one there already."""

    @abstractmethod
    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        """Write all blobs of the group so that readers see all of them or none."""

    @abstractmethod
    def delete(self, key: str) -> bool:
        """Remove the blob under `key`; say whether there was one."""

    @abstractmethod
    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield an entry for each blob whose key starts with `prefix`, in no order; safe while others write."""

    def touch(self, key: str) -> None:  # noqa: B027 - an optional part of the contract
        """Note that `key` was used now, cheaply and at most roughly; never raises."""

    def natural_lock_manager(self) -> LockManager | None:
        """Return the lock manager that fits this storage, or None if it has no way to coordinate."""
        return None

    def flush(self) -> None:  # noqa: B027 - most storages have nothing to flush
        """Wait until everything accepted so far is where it belongs."""

    def sweep(self) -> SweepReport:
        """Remove what dead writers left behind and finish what they committed; safe while others read and write."""
        return SweepReport()
