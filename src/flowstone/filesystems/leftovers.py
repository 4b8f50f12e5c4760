"""What dead writers leave behind: names that tell whose a temporary file is, and when it may go.

A temporary name says which process made it: its number, its start time (numbers are used again) and the boot and
process namespace the number belongs to. A leftover goes when its process is surely dead, and otherwise only after a
day, since a process of another machine or container cannot be asked.
"""

from __future__ import annotations

import itertools
import os
import time

from flowstone.filesystems.base import SweepReport

PATIENCE_SECONDS = 86400.0

_numbers = itertools.count()


class _Process:
    """What this process is called in temporary names: `pid.start.place.token.`.

    The token is random: where start times cannot be had, a number used again must not mean a name used again.
    """

    __slots__ = ("pid", "place", "prefix")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.place = _find_place()
        self.prefix = f"{self.pid}.{_start_time('self') or 0}.{self.place}.{os.urandom(4).hex()}."


_process: _Process | None = None


def _this_process() -> _Process:
    global _process  # a memo of what cannot change but by a fork, which the comparison notices
    if _process is None or _process.pid != os.getpid():
        _process = _Process()
    return _process


def temp_name() -> str:
    """Return a file name that no other process or thread uses: `pid.start.place.token.number`."""
    return _this_process().prefix + str(next(_numbers))


def sweep_folder(folder: str, *, prefix: str = "", patience: float = PATIENCE_SECONDS) -> SweepReport:
    """Remove the leftovers of dead processes from `folder`, among the names that start with `prefix`."""
    removed = size = kept = 0
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except OSError:
        return SweepReport()
    for name in names:
        path = f"{folder}/{name}"
        try:
            if not is_dead(name[len(prefix) :]) and time.time() - os.lstat(path).st_mtime < patience:
                kept += 1
                continue
            size += remove_tree(path)
            removed += 1
        except OSError:  # swept by another meanwhile, or not ours to remove: nothing to do here either way
            continue
    return SweepReport(removed=removed, bytes=size, kept=kept)


def is_dead(name: str) -> bool:
    """Say whether the process that made the temporary `name` has surely ended."""
    pid, start, place, *_ = [*name.split("."), "", "", ""]
    if not (pid.isdecimal() and start.isdecimal() and start != "0" and place == _this_process().place):
        return False
    now = _start_time(pid)
    return now != int(start) if now is not None else not _answers(int(pid))


def _answers(pid: int) -> bool:
    """Say whether there is such a process, where /proc does not show it (it hides those of other users)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _start_time(pid: str) -> int | None:
    """Return when the process started, in ticks since boot; None if /proc has nothing to say of it.

    A process that has ended but was not waited for yet counts as started never.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return -1 if state in (b"Z", b"X") else int(fields[18])


def _find_place() -> str:
    """Name the world in which process numbers mean something: this boot of this machine, this namespace."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read(8).decode("ascii")
        return boot + os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "0"


def remove_tree(path: str) -> int:
    """Remove a file, or a folder with all that is in it; return how many bytes were in files."""
    if not os.path.isdir(path) or os.path.islink(path):
        size = os.lstat(path).st_size
        os.unlink(path)
        return size
    size = sum(remove_tree(f"{path}/{name}") for name in os.listdir(path))
    os.rmdir(path)
    return size
