"""What storages that stand in front of another have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, SweepReport, WriteMode

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager


class InFront(Storage):
    """Passes everything on to the storage `behind`; subclasses say what they do otherwise."""

    def __init__(self, behind: Storage) -> None:
        self.behind = behind

    # Not asked before somebody wants to know: an object store has to try its server.

    @property
    def coordinates(self) -> bool:  # type: ignore[override]  # what is behind decides
        return self.behind.coordinates

    @property
    def atomic_groups(self) -> bool:  # type: ignore[override]  # what is behind decides
        return self.behind.atomic_groups

    @property
    def identity(self) -> str:
        return self.behind.identity

    def get(self, key: str) -> Blob | None:
        return self.behind.get(key)

    def stamp(self, key: str) -> Stamp | None:
        return self.behind.stamp(key)

    def head(self, key: str, size: int) -> bytes | None:
        return self.behind.head(key, size)

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        return self.behind.put(key, parts, mode)

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        self.behind.publish(group)

    def delete(self, key: str) -> bool:
        return self.behind.delete(key)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        return self.behind.scan(prefix)

    def touch(self, key: str) -> None:
        self.behind.touch(key)

    def natural_lock_manager(self) -> LockManager | None:
        return self.behind.natural_lock_manager()

    def flush(self) -> None:
        self.behind.flush()

    def sweep(self) -> SweepReport:
        return self.behind.sweep()
