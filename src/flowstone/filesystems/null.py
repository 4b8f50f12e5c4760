"""A storage that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode, check_key


class NullFileSystem(Storage):
    """Accepts everything and keeps nothing: every look-up is a miss."""

    memory_speed = True
    coordinates = False

    @property
    def identity(self) -> str:
        return "null://"

    def __repr__(self) -> str:
        return "NullFileSystem()"

    def get(self, key: str) -> Blob | None:
        check_key(key)
        return None

    def stamp(self, key: str) -> Stamp | None:
        check_key(key)
        return None

    def head(self, key: str, size: int) -> bytes | None:
        check_key(key)
        return None

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        check_key(key)
        return Stamp((sum(memoryview(part).nbytes for part in parts),))

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        for key, _ in group:
            check_key(key)

    def delete(self, key: str) -> bool:
        check_key(key)
        return False

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        return iter(())

    def read_path(self, path: str) -> bytes:
        """Return nothing, whatever the path."""
        return b""

    def write_path(self, path: str, content: bytes) -> None:
        """Drop the content."""
