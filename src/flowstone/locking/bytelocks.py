"""Locks on single bytes of an open file, by the operating system. A byte need not exist to be locked.

The locks of one `ByteLocks` exclude every other process, and end with this one however it ends. Nothing here waits.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import Final

if sys.platform == "win32":  # pragma: no cover (written from the manual, not run)
    import msvcrt
    import threading

    SPAN: Final = 2**31 - 1
    """How many bytes can be locked: `msvcrt.locking` counts positions in a C long."""

    class ByteLocks:
        """Locks on the bytes of the file `fd`. To ask whether a byte is locked is to try it for a moment."""

        def __init__(self, fd: int) -> None:
            self._fd = fd
            self._mutex = threading.Lock()
            self._mine: set[int] = set()

        def lock(self, byte: int) -> bool:
            """Lock a byte; False if another process has it."""
            with self._mutex:
                if byte not in self._mine and self._move(msvcrt.LK_NBLCK, byte):
                    self._mine.add(byte)
                return byte in self._mine

        def unlock(self, byte: int) -> None:
            """Unlock a byte; nothing happens if it is not locked by this process."""
            with self._mutex:
                if byte in self._mine:
                    self._move(msvcrt.LK_UNLCK, byte)
                    self._mine.discard(byte)

        def locked_elsewhere(self, byte: int) -> bool:
            """Say whether another process has locked a byte."""
            with self._mutex:
                if byte in self._mine:
                    return False
                free = self._move(msvcrt.LK_NBLCK, byte)
                if free:
                    self._move(msvcrt.LK_UNLCK, byte)
                return not free

        def _move(self, mode: int, byte: int) -> bool:
            os.lseek(self._fd, byte, os.SEEK_SET)
            try:
                msvcrt.locking(self._fd, mode, 1)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EDEADLK):
                    return False
                raise
            return True

else:
    import fcntl

    SPAN = 2**62
    """How many bytes can be locked; half of what a file offset can say."""

    # struct flock: type, whence, start, length, pid; or in the order of the BSDs. The tail is room for their extras.
    _LINUX: Final = sys.platform == "linux"
    _FLOCK: Final = struct.Struct("@hhqqi4x" if _LINUX else "@qqihh8x")
    # Locks of an open file description outlive a `close` of the same file elsewhere in the process, such as a copy of
    # the whole folder makes, and exclude two openings within the process. Where they do not exist, those of the
    # process have to do.
    _SET: int = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
    _ASK: int = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)

    class ByteLocks:
        """Locks on the bytes of the file `fd`. What this object has locked, it may lock again to no effect."""

        __slots__ = ("_fd",)

        def __init__(self, fd: int) -> None:
            self._fd = fd

        def lock(self, byte: int) -> bool:
            """Lock a byte; False if another process has it."""
            try:
                fcntl.fcntl(self._fd, _SET, _flock(fcntl.F_WRLCK, byte))
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
                raise
            return True

        def unlock(self, byte: int) -> None:
            """Unlock a byte; nothing happens if it is not locked by this process."""
            fcntl.fcntl(self._fd, _SET, _flock(fcntl.F_UNLCK, byte))

        def locked_elsewhere(self, byte: int) -> bool:
            """Say whether another process has locked a byte."""
            answer = fcntl.fcntl(self._fd, _ASK, _flock(fcntl.F_WRLCK, byte))
            kind: int = _FLOCK.unpack(answer)[0 if _LINUX else 3]
            return kind != fcntl.F_UNLCK

    if _LINUX:

        def _flock(kind: int, byte: int) -> bytes:
            return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)

    else:

        def _flock(kind: int, byte: int) -> bytes:
            return _FLOCK.pack(byte, 1, 0, kind, os.SEEK_SET)
