"""The folder of a local store, as its keeper sees it: files by key, what is left over, and what does not belong there.

The layout is that of `flowstone.filesystems.local`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from flowstone.exceptions import KeyPathError, StoreError
from flowstone.filesystems.base import INTERNAL_PREFIX, Entry, check_key
from flowstone.filesystems.leftovers import PATIENCE_SECONDS, is_dead
from flowstone.filesystems.local import LocalFileSystem
from flowstone.filesystems.marker import MARKER, make_marker, read_marker
from flowstone.filesystems.paths import EXACT, NO_FOLLOW, at, decode, encode, walk
from flowstone.housekeeping.snapshots import Beginning, Reader, Snapshot

T = TypeVar("T")

_PLAIN: Final = (
    os.O_RDONLY
    | NO_FOLLOW
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in the store must not make us wait for its writer
)
_QUIET: Final = _PLAIN | getattr(os, "O_NOATIME", 0)


class Leftover(NamedTuple):
    """What a writer left behind; `dead` says that he surely does not need it any more."""

    path: str
    size: int
    dead: bool


class FileSnapshot(Snapshot):
    """An open file. No file of a store is written again once it has its name, so it stays what it is."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        data = _read_at(self._fd, max(end - start, 0), start)
        while data and len(data) < end - start:  # the system may give less than asked for at a time
            more = _read_at(self._fd, end - start - len(data), start + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Folder(Reader):
    """Reads a local store by file: with read calls, since a mapped file on a bad disk would end the process."""

    def __init__(self, storage: LocalFileSystem) -> None:
        self.path = storage.basepath
        self._root = storage.basepath.rstrip(os.sep) + "/"
        self._group = f"{self._root}{INTERNAL_PREFIX}/group/"
        self._names = read_marker(self._root) or EXACT

    def begin(self, key: str) -> Beginning | None:
        snapshot = self.open(key)
        if snapshot is None:
            return None
        with snapshot:
            return snapshot.beginning()

    def open(self, key: str) -> FileSnapshot | None:
        return self._find(key, _open_quietly)

    def listed(self, key: str) -> Entry | None:
        status = self._find(key, lambda name, where: os.stat(name, dir_fd=where, follow_symlinks=False))
        if status is None or stat.S_ISDIR(status.st_mode):
            return None
        return Entry(key, status.st_size, status.st_mtime, max(status.st_atime, status.st_mtime))

    def _find(self, key: str, act: Callable[[str, int | None], T]) -> T | None:
        """Return `act(name, folder)` for the file under `key`; a file of a committed group comes first."""
        check_key(key)
        name = encode(key, self._names)
        bases = (self._group, self._root) if os.access(self._group, os.F_OK) else (self._root,)
        for base in bases:
            try:
                return at(base, name, act)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
        return None

    def file_of(self, key: str) -> str:
        """Return the path of the file under `key`, whether there is one or not."""
        check_key(key)
        name = encode(key, self._names)
        return self._group + name if os.path.lexists(self._group + name) else self._root + name

    # What a keeper looks for.

    @property
    def exists(self) -> bool:
        return os.path.isdir(self._root)

    @property
    def marked(self) -> bool:
        """Whether the folder says of itself that it is a store."""
        return os.path.isfile(self._root + MARKER)

    @property
    def is_store(self) -> bool:
        """Whether this is a store, be it one whose marker was lost."""
        return self.marked or os.path.isdir(self._root + INTERNAL_PREFIX)

    def mark(self) -> None:
        """Let the folder say that it is a store, if it does not."""
        if not self.marked:
            temps = f"{self._root}{INTERNAL_PREFIX}/tmp/"
            os.makedirs(temps, exist_ok=True)
            make_marker(self._root, temps)

    def waiting_group(self) -> list[str]:
        """Return the names of the files of a committed group that are still to be moved to their places."""
        return [name for name, _ in walk(self._group)]

    def leftovers(self, patience: float = PATIENCE_SECONDS) -> Iterator[Leftover]:
        """Yield what writers have not finished, or not cleared away; older than `patience` seconds it is dead too."""
        internal = self._root + INTERNAL_PREFIX
        yield from _unfinished(f"{internal}/tmp", "", patience)
        yield from _unfinished(internal, "new.", patience)

    def strays(self) -> Iterator[tuple[str, str]]:
        """Yield the path of each thing that no key can name, and what it is. Records are not among them."""
        for name, entry in walk(self._root):
            if name.startswith(INTERNAL_PREFIX):
                continue
            try:
                key = decode(name, self._names)
                check_key(key)
                kind = _kind(entry.stat(follow_symlinks=False).st_mode)
            except KeyPathError:
                kind = "a file whose name is no key"
            except FileNotFoundError:
                continue
            else:
                if not kind and encode(key, self._names) != name:
                    kind = "a file whose name is no key"  # a name that this store would have written otherwise
            if kind:
                yield entry.path, kind


def _open_quietly(name: str, where: int | None) -> FileSnapshot:
    """Open a regular file so that reading it leaves its time of access alone, where the system allows that."""
    try:
        fd = os.open(name, _QUIET, dir_fd=where)
    except PermissionError:  # only its owner may read so
        fd = os.open(name, _PLAIN, dir_fd=where)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(name)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{name} is {_kind(status.st_mode)}.")
        return FileSnapshot(fd, status.st_size)
    except BaseException:
        os.close(fd)
        raise


def _read_at(fd: int, size: int, position: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, position)
    os.lseek(fd, position, os.SEEK_SET)
    return os.read(fd, size)


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    return "a symbolic link" if stat.S_ISLNK(mode) else "no file but a pipe, socket or device"


def _unfinished(folder: str, prefix: str, patience: float) -> Iterator[Leftover]:
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        path = f"{folder}/{name}"
        try:
            old = time.time() - os.lstat(path).st_mtime >= patience
            yield Leftover(path, _size_of(path), old or is_dead(name[len(prefix) :]))
        except FileNotFoundError:
            continue


def _size_of(path: str) -> int:
    if os.path.isdir(path) and not os.path.islink(path):
        return sum(entry.stat(follow_symlinks=False).st_size for _, entry in walk(path + "/"))
    return os.lstat(path).st_size
