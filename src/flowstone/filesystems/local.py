"""A folder as a storage: one file per key, named exactly as the key."""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator, Sequence

from flowstone.exceptions import StoreError
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode, check_key

_MAP_FROM = 1 << 20
_temps = itertools.count()


class LocalFileSystem(Storage):
    """Keeps blobs in the folder `basepath`, one file per key."""

    def __init__(self, basepath: str | os.PathLike[str], *, durability: str = "fast") -> None:
        self.basepath = os.path.abspath(os.path.expanduser(os.fspath(basepath)))
        self.durability = durability
        self._root = self.basepath + "/"

    @property
    def identity(self) -> str:
        return "file://" + os.path.realpath(self.basepath)

    def __repr__(self) -> str:
        return f"LocalFileSystem({self.basepath!r})"

    def get(self, key: str) -> Blob | None:
        check_key(key)
        try:
            fd = os.open(self._root + key, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"Cannot read {self._root + key}: {error}") from error
        try:
            status = os.fstat(fd)
            if status.st_size >= _MAP_FROM:
                return Blob(memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)), _stamp(status))
            return Blob(os.read(fd, status.st_size), _stamp(status))
        except OSError as error:
            raise StoreError(f"Cannot read {self._root + key}: {error}") from error
        finally:
            os.close(fd)

    def stamp(self, key: str) -> Stamp | None:
        check_key(key)
        try:
            return _stamp(os.stat(self._root + key))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def head(self, key: str, size: int) -> bytes | None:
        blob = self.get(key)
        return None if blob is None else bytes(blob.data[:size])

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        check_key(key)
        temp = f"{self._root}.flowstone/tmp/{os.getpid()}-{next(_temps)}"
        target = self._root + key
        try:
            os.makedirs(os.path.dirname(temp), exist_ok=True)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(temp, "wb") as file:
                for part in parts:
                    file.write(part)
            stamp = _stamp(os.stat(temp))
            if mode == WriteMode.CREATE_ONLY:
                try:
                    os.link(temp, target)
                except FileExistsError:
                    return None
                finally:
                    os.unlink(temp)
            else:
                os.replace(temp, target)
        except OSError as error:
            raise StoreError(f"Cannot write {target}: {error}") from error
        return stamp

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        for key, parts in group:
            self.put(key, parts)

    def delete(self, key: str) -> bool:
        check_key(key)
        try:
            os.unlink(self._root + key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        for folder, folders, files in os.walk(self.basepath):
            folders[:] = [name for name in folders if not name.startswith(".flowstone")]
            for name in files:
                path = os.path.join(folder, name)
                key = path[len(self._root) :]
                if key.startswith(prefix) and not key.startswith(".flowstone"):
                    status = os.stat(path)
                    yield Entry(key, status.st_size, status.st_mtime, status.st_atime)

    def read_path(self, path: str) -> bytes:
        """Return the bytes under `path`."""
        blob = self.get(path)
        if blob is None:
            raise StoreError(f"There is nothing at {path!r} in {self.basepath}.")
        return bytes(blob.data)

    def write_path(self, path: str, content: bytes) -> None:
        """Write `content` under `path`."""
        self.put(path, [content])


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp((status.st_mtime_ns, status.st_ino, status.st_size))
