"""Locks between the processes of one machine, by locks of the operating system that die with their process.

Every key has a *door*, one byte in a lock file: who has locked it has the key. Next to it lies a *sign* for each holder
of that key, locked by the process that works in this holder's name, so that its descendants in other processes know
that they may enter. The bytes are found by hash in files that are for ever empty, among 2**62: what the operating
system remembers is all there is. Nothing can be stale, half written or unsafe as a name, and nothing grows.

The number of files is small and fixed. It is more than one because the system finds a lock by going through all those
on the same file.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from threading import Lock
from typing import Final

from flowstone.exceptions import LockError
from flowstone.locking.bytelocks import SPAN, ByteLocks
from flowstone.locking.entries import Backing
from flowstone.locking.forks import after_fork
from flowstone.locking.holders import lineage
from flowstone.locking.outside import Outside, growing_pause
from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager, shared_space

_FILES: Final = 16
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.04
"""Seconds between two looks at a door that another process has: the dead are succeeded within 0.1 s, on a busy machine
too, and one waiter costs less than a thousandth of a core. A thread that blocks in the system would be woken sooner,
but cannot be told to stop."""


class LockFile:
    """An open lock file. Closed when nobody refers to it, which frees whatever is still locked."""

    __slots__ = ("__weakref__", "_identity", "_path", "fd", "locks")

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._path = path
        self._identity = _identity(os.fstat(self.fd))
        self.locks = ByteLocks(self.fd)
        # A child shares the open file, and would keep the parent's locks alive. To close it there frees nothing here.
        after_fork(self, LockFile.close)

    def is_current(self) -> bool:
        """Whether this is still the file of that name, and so the one that others lock."""
        try:
            return _identity(os.stat(self._path)) == self._identity
        except FileNotFoundError:
            return False

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class Door(Backing):
    """A door that this process has locked, and the sign on it."""

    __slots__ = ("byte", "file", "sign")

    def __init__(self, file: LockFile, byte: int, sign: int, shown: str) -> None:
        super().__init__(shown=shown)
        self.file = file
        self.byte = byte
        self.sign = sign


class DoorFiles(Outside):
    """The lock files of one folder, which is made when it is needed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._files: dict[int, LockFile] = {}
        self._opening = Lock()
        after_fork(self, DoorFiles._forget)

    def _forget(self) -> None:
        self._files = {}
        self._opening = Lock()

    def take(self, key: str, holder: str) -> Backing | None:
        number, byte = _door(key)
        try:
            while True:
                file = self._file(number)
                locked = file.locks.lock(byte)
                if file.is_current():
                    break
                # The file was removed: what is locked in it excludes nobody who comes after.
                self._reopen(number, file)
            if locked:
                return self._enter(file, key, byte, holder)
        except OSError as error:
            raise self._failure(error) from error
        return self.join(key, holder)

    def _enter(self, file: LockFile, key: str, byte: int, holder: str) -> Door:
        sign = _sign(key, holder)
        try:
            file.locks.lock(sign)
        except BaseException:
            file.locks.unlock(byte)
            raise
        return Door(file, byte, sign, holder)

    def join(self, key: str, holder: str) -> Backing | None:
        host = self._shown(key, holder)
        return None if host is None else Backing(host=host)

    def drop(self, key: str, backing: Backing) -> bool:
        if not isinstance(backing, Door):
            return True
        try:
            backing.file.locks.unlock(backing.sign)
            backing.file.locks.unlock(backing.byte)
        except OSError as error:
            raise self._failure(error) from error
        return True

    def rename(self, key: str, backing: Backing, heir: str) -> None:
        if not isinstance(backing, Door) or backing.shown == heir:
            return
        sign, old = _sign(key, heir), backing.sign
        try:
            backing.file.locks.lock(sign)
            backing.sign, backing.shown = sign, heir
            backing.file.locks.unlock(old)
        except OSError as error:
            raise self._failure(error) from error

    def seen(self, key: str) -> bool:
        number, byte = _door(key)
        return self._locked_elsewhere(number, byte)

    def seen_with(self, key: str, holder: str) -> bool:
        return self._shown(key, holder) is not None

    def sound(self, key: str, backing: Backing) -> bool:
        if isinstance(backing, Door):
            return backing.file.is_current()
        return backing.host is not None and self._locked_elsewhere(_door(key)[0], _sign(key, backing.host))

    def pause(self, waited: float) -> float:
        return growing_pause(waited, _FIRST_PAUSE, _LONGEST_PAUSE)

    def _shown(self, key: str, holder: str) -> str | None:
        """Return whose sign on the door lets `holder` in, if another process put one there."""
        number, _ = _door(key)
        names = lineage(holder)
        return next((name for name in names if self._locked_elsewhere(number, _sign(key, name))), None)

    def _locked_elsewhere(self, number: int, byte: int) -> bool:
        try:
            file = self._file(number)
            if not file.is_current():
                file = self._reopen(number, file)
            return file.locks.locked_elsewhere(byte)
        except OSError as error:
            raise self._failure(error) from error

    def _file(self, number: int) -> LockFile:
        return self._files.get(number) or self._reopen(number, None)

    def _reopen(self, number: int, outdated: LockFile | None) -> LockFile:
        """Open the lock file anew, unless another thread did since; the outdated one closes with its last door."""
        with self._opening:
            file = self._files.get(number)
            if file is None or file is outdated:
                file = self._files[number] = self._open(f"{self.folder}{os.sep}{number:x}.locks")
            return file

    def _open(self, path: str) -> LockFile:
        while True:
            try:
                return LockFile(path)
            except FileNotFoundError:
                os.makedirs(self.folder, exist_ok=True)

    def _failure(self, error: OSError) -> LockError:
        return LockError(
            f"The lock files in {self.folder} cannot be used: {error}. "
            "Locks need a folder that can be written to, on a file system with byte-range locks."
        )


class FileSystemLockManager(SpaceLockManager):
    """Excludes threads and processes of one machine by lock files in `lock_files_directory`.

    A process that ends frees its locks, however it ends. Managers of one folder share their locks. On network file
    systems it depends on the server whether machines exclude each other; use a lock server between machines.
    """

    def __init__(self, lock_files_directory: str | os.PathLike[str]) -> None:
        self.lock_files_directory = os.path.abspath(os.path.expanduser(os.fspath(lock_files_directory)))
        folder = os.path.realpath(self.lock_files_directory)
        self.space = shared_space(("files", folder), lambda: LockSpace(DoorFiles(folder)))

    def __reduce__(self) -> tuple[type[FileSystemLockManager], tuple[str]]:
        return FileSystemLockManager, (self.lock_files_directory,)

    def __repr__(self) -> str:
        return f"FileSystemLockManager({self.lock_files_directory!r})"


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _door(key: str) -> tuple[int, int]:
    """Return the number of the file and the byte of a key. Even bytes are doors, odd ones signs."""
    place = _place(key.encode("utf-8", "surrogatepass"))
    return place % _FILES, (place // _FILES) % (SPAN // 2) * 2


def _sign(key: str, holder: str) -> int:
    name = key.encode("utf-8", "surrogatepass")
    return _place(b"%d:%b%b" % (len(name), name, holder.encode("utf-8", "surrogatepass"))) % (SPAN // 2) * 2 + 1


def _place(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=16).digest(), "little")
