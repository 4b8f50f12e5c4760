"""Files and directories as arguments, keyed by what is in them.

A plain path is keyed as a path: the task may write there, or not look at all. `File(path)` and `Dir(path)` say that the
content is the input. They are path-like, so the task opens them as it would a path.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from threading import Lock
from typing import TYPE_CHECKING

from flowstone.exceptions import HashError
from flowstone.hashing import KEY_FORMAT, buffer_digest, buffer_hasher

if TYPE_CHECKING:
    StrPath = str | os.PathLike[str]

_PIECE = 1 << 23  # bytes read at a time
_SETTLED = 2_000_000_000  # ns; the coarsest clocks of file systems tick every two seconds
_WORTH_A_NOTE = 1 << 20  # bytes; smaller files are read again rather than remembered on disk
_REMEMBERED = 20_000  # files, in memory

Stamp = tuple[int, ...]


class _Content:
    """A path that stands for what is there when the key is made."""

    __slots__ = ("path",)

    path: str

    def __init__(self, path: StrPath) -> None:
        object.__setattr__(self, "path", os.fspath(path))
        if not isinstance(self.path, str):
            raise TypeError(f"{type(self).__name__}() takes a text path, not {path!r}.")

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.path))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change; make a new one.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change; make a new one.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path,)


class File(_Content):
    """A file given to a task by its content: the same bytes are the same input, wherever they lie.

    Neither name nor times count. An unchanged file is not read again: its size, times and inode are compared with
    those it had when it was last read.
    """

    __slots__ = ()

    def __flowstone_key__(self) -> object:
        return _memo.digest(os.path.abspath(self.path))


class Dir(_Content):
    """A directory given to a task by its content: relative names, kinds and contents of all that is in it.

    Its own name does not count, nor do times and permissions. Links are followed; a link that leads nowhere counts by
    its target. Empty directories count. Sockets, devices and the like are refused.
    """

    __slots__ = ()

    def __flowstone_key__(self) -> object:
        top = os.path.abspath(self.path)
        if not os.path.isdir(top):
            raise NotADirectoryError(f"{top} is not a directory")
        return sorted(_entries(top, "", ()))


def _entries(folder: str, prefix: str, above: tuple[Stamp, ...]) -> Iterator[tuple[str, str, bytes]]:
    """Name, kind and digest of everything below a folder; `above` are the folders around it, to see loops of links."""
    here = os.stat(folder)
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        raise OSError(f"{folder} is a link to a folder around it")
    with os.scandir(folder) as found:
        for entry in found:
            name = prefix + entry.name
            if entry.is_dir():
                yield name, "dir", b""
                yield from _entries(entry.path, f"{name}/", (*above, identity))
            elif entry.is_symlink() and not os.path.exists(entry.path):
                yield name, "link", os.fsencode(os.readlink(entry.path))
            else:
                yield name, "file", _memo.digest(entry.path)


class Memo:
    """Digests of files, each with the stamp the file had; a file with the same stamp still has that digest.

    A file is remembered only if it was last changed well before it was read: one that changes twice within a tick of
    the file system's clock would keep its stamp. With a directory, digests of large files are also kept there for other
    processes; what cannot be read there, or does not add up, counts as unknown. Safe to use from any thread.
    """

    def __init__(self, directory: StrPath | None = None, *, now: Callable[[], int] = time.time_ns) -> None:
        self.directory = None if directory is None else os.fspath(directory)
        self._now = now
        self._known: dict[str, tuple[Stamp, bytes]] = {}
        self._lock = Lock()

    def digest(self, path: str) -> bytes:
        """The digest of a regular file's bytes; `path` is absolute."""
        stamp = _stamp(path)
        known = self._recall(path, stamp)
        if known is not None:
            return known
        start = self._now()
        for _ in range(3):
            digest = _read(path)
            after = _stamp(path)
            if after == stamp:
                break
            start, stamp = self._now(), after
        else:
            raise HashError(f"{path} keeps changing while it is read.", path=path, culprit="File")
        if max(stamp[1], stamp[2]) + _SETTLED < start:
            self._remember(path, stamp, digest)
        return digest

    def _recall(self, path: str, stamp: Stamp) -> bytes | None:
        with self._lock:
            entry = self._known.get(path)
        if entry is None and self.directory is not None and stamp[0] >= _WORTH_A_NOTE:
            entry = self._read_note(path)
        return entry[1] if entry is not None and entry[0] == stamp else None

    def _remember(self, path: str, stamp: Stamp, digest: bytes) -> None:
        with self._lock:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[path] = (stamp, digest)
        if self.directory is not None and stamp[0] >= _WORTH_A_NOTE:
            self._write_note(path, stamp, digest)

    def _note(self, path: str) -> str:
        assert self.directory is not None
        return os.path.join(self.directory, buffer_digest(os.fsencode(path)).hex()[:40])

    def _read_note(self, path: str) -> tuple[Stamp, bytes] | None:
        try:
            with open(self._note(path), "rb") as note:
                stamp, digest, check = note.read(1000).split(b"\n")
            if check != _check(path, stamp, digest):
                return None
            entry = tuple(map(int, stamp.split())), bytes.fromhex(digest.decode())
        except (OSError, ValueError):
            return None
        with self._lock:
            self._known[path] = entry
        return entry

    def _write_note(self, path: str, stamp: Stamp, digest: bytes) -> None:
        told = [b" ".join(b"%d" % number for number in stamp), digest.hex().encode()]
        note = self._note(path)
        beside = f"{note}.{os.getpid()}.{time.monotonic_ns()}.tmp"
        try:
            os.makedirs(os.path.dirname(note), exist_ok=True)
            with open(beside, "wb") as file:
                file.write(b"\n".join([*told, _check(path, *told)]))
            os.replace(beside, note)
        except OSError:  # a note spares work and no more
            return


def _check(path: str, stamp: bytes, digest: bytes) -> bytes:
    told = b"%d\n%b\n%b\n%b" % (KEY_FORMAT, os.fsencode(path), stamp, digest)
    return buffer_digest(told).hex().encode()


def _stamp(path: str) -> Stamp:
    """Size, times and identity of a regular file."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a regular file")
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _read(path: str) -> bytes:
    hasher = buffer_hasher()
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(min(_PIECE, max(1, os.fstat(file.fileno()).st_size)))
        view = memoryview(buffer)
        while size := file.readinto(buffer):
            hasher.update(view[:size])
    return hasher.digest()


_memo = Memo()


def remember_in(directory: StrPath | None) -> None:
    """Keep what is known of large files in a directory, so that other processes need not read them again."""
    global _memo
    _memo = Memo(directory)
