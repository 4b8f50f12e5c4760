"""Reading and writing one file whole, and the stamp that tells it from every other version."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from flowstone.filesystems.base import Blob, Stamp
from flowstone.filesystems.leftovers import temp_name
from flowstone.filesystems.paths import NO_FOLLOW

if TYPE_CHECKING:
    from flowstone.filesystems.base import Buffer

MAP_FROM = 1 << 20
"""Files of at least so many bytes are mapped instead of read."""

_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
# Without O_NONBLOCK a pipe someone put into the store would make us wait for its writer.
_READ = os.O_RDONLY | _CLOSE_ON_EXEC | _BINARY | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSE_ON_EXEC | _BINARY
_KIND = 0o170000
_REGULAR = stat.S_IFREG
_MOST_PARTS = 1000  # in one call; the limit of most systems is 1024
_MOST_BYTES = 1 << 30  # in one call; some systems refuse 2 GiB and more

_COARSE = 1_000_000
_YOUNG_NS = 3_000_000_000


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of the file with this status: modification time, inode and size.

    Every file gets its modification time from us, in nanoseconds (see `write_file`), so that a version that came by
    the inode of an earlier one at once still has another time. A time without a part below the millisecond comes from
    a file system with a coarse clock (1 or 2 s), where two versions may share all three; there the stamp of a file so
    young that it may be replaced within the same tick equals no other stamp.
    """
    mtime = status.st_mtime_ns
    if mtime % _COARSE == 0 and time.time_ns() - mtime < _YOUNG_NS:
        return Stamp((mtime, status.st_ino, status.st_size, temp_name()))
    return Stamp((mtime, status.st_ino, status.st_size))


def read_file(name: str, where: int | None = None) -> Blob | None:
    """Return the content of a file; None if there is none, or a folder. Raises OSError."""
    try:
        fd = os.open(name, _READ, dir_fd=where)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        size = status.st_size
        if status.st_mode & _KIND != _REGULAR and _is_folder(status):
            return None
        if size >= MAP_FROM:
            return Blob(_map(fd, size), stamp_of(status))
        data = os.read(fd, size)
        if len(data) < size:
            data = _read_on(fd, data, size)
        return Blob(data, stamp_of(status))
    finally:
        os.close(fd)


def read_head(name: str, where: int | None, size: int) -> bytes | None:
    """Return at most the first `size` bytes of a file; None if there is none, or a folder. Raises OSError."""
    try:
        fd = os.open(name, _READ, dir_fd=where)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_mode & _KIND != _REGULAR and _is_folder(status):
            return None
        size = min(size, status.st_size)
        return _read_on(fd, b"", size)
    finally:
        os.close(fd)


def stamp_file(name: str, where: int | None = None) -> Stamp | None:
    """Return the stamp of a file; None if there is none, or a folder. Raises OSError."""
    try:
        status = os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if status.st_mode & _KIND != _REGULAR and _is_folder(status):
        return None
    return stamp_of(status)


def _is_folder(status: os.stat_result) -> bool:
    """Say that what is no file is a folder, and refuse what is neither."""
    if stat.S_ISDIR(status.st_mode):
        return True
    raise OSError(errno.ELOOP, "it is not a regular file but a link, pipe or device")


def _read_on(fd: int, data: bytes, size: int) -> bytes:
    """Read until there are `size` bytes or the file ends; the system may give less than asked for at a time."""
    chunks = [data]
    missing = size - len(data)
    while missing > 0 and (chunk := os.read(fd, missing)):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _map(fd: int, size: int) -> memoryview:
    """Return a private view of the file: the caller may write to it, the file stays as it is."""
    try:
        return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY))
    except OSError:  # no mapping on this file system, or the system will not promise so much memory
        return memoryview(_read_on(fd, b"", size))


def write_file(name: str, parts: Sequence[Buffer], where: int | None = None, *, sync: bool) -> Stamp:
    """Write the joined `parts` to the new file `name` and return its stamp; leave no file behind if that fails.

    With `sync`, the content is on the disk when this returns (the name is not: see `sync_folder`).
    """
    fd = os.open(name, _CREATE, 0o666, dir_fd=where)
    try:
        try:
            _write_all(fd, parts)
            _set_time(fd)
            if sync:
                os.fsync(fd)
            return stamp_of(os.fstat(fd))
        finally:
            os.close(fd)
    except BaseException:
        forget(name, where)
        raise


def _write_all(fd: int, parts: Sequence[Buffer]) -> None:
    views = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
    while views:
        written = _writev(fd, _first(views))
        if not written:
            raise OSError(errno.EIO, "the system wrote nothing and gave no reason")
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def _first(views: list[memoryview]) -> list[memoryview]:
    """Return as much of the beginning as the system takes in one call."""
    views = views[:_MOST_PARTS]
    return views if sum(map(len, views)) <= _MOST_BYTES else [views[0][:_MOST_BYTES]]


def _writev(fd: int, views: list[memoryview]) -> int:
    return os.writev(fd, views) if hasattr(os, "writev") else os.write(fd, views[0])


def _set_time(fd: int) -> None:
    """Give the file a modification time of its own: the system's moves in ticks of some milliseconds."""
    now = time.time_ns()
    with suppress(OSError, TypeError):  # where one may not, or cannot by descriptor, stamps are as fine as the clock
        os.utime(fd, ns=(now, now))


def link_new(temp: str, name: str, where: int | None, lock: str) -> bool:
    """Move the file `temp` to `name` if there is nothing yet; of all who try at once, one succeeds."""
    try:
        os.link(temp, name, dst_dir_fd=where)
    except FileExistsError:
        forget(temp)
        with suppress(FileNotFoundError):  # deleted since: it was there all the same
            refuse_folder(name, where)
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _move_alone(temp, name, where, lock)
    forget(temp)
    return True


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _move_alone(temp: str, name: str, where: int | None, lock: str) -> bool:
    """Do as `link_new` on file systems without hard links: look and move while nobody else who does so can."""
    import fcntl  # there is none on Windows

    with open(lock, "ab") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            refuse_folder(name, where)
            forget(temp)
            return False
        os.replace(temp, name, dst_dir_fd=where)
        return True


def refuse_folder(name: str, where: int | None = None) -> None:
    """Raise IsADirectoryError if `name` is a folder, FileNotFoundError if it is nothing."""
    if stat.S_ISDIR(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)


def touch_file(name: str, where: int | None, now: float, after: float) -> bool | None:
    """Note in the file's access time that it was used, unless that says so of less than `after` seconds ago.

    The modification time stays as it is, by way of the descriptor: by name it could hit the next version of the file.
    """
    try:
        fd = os.open(name, _READ, dir_fd=where)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        if now - status.st_atime > after:
            os.utime(fd, ns=(int(now * 1e9), status.st_mtime_ns))
        return True
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Put the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | _CLOSE_ON_EXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such thing
            raise
    finally:
        os.close(fd)


def sync_tree(folder: str) -> None:
    """Put the names in a folder and all folders below it on the disk."""
    for top, _, _ in os.walk(folder):
        sync_folder(top)


def forget(name: str, where: int | None = None) -> None:
    """Remove a file of ours if it is there and we may: what stays is swept later."""
    with suppress(OSError):
        os.unlink(name, dir_fd=where)
