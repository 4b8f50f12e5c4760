"""What tells one state of a file from another without reading it."""

from __future__ import annotations

import os

Stamp = tuple[int, int, int, int]  # size, times of the last change of content and of anything, inode

RACE = 2_000_000_000
"""Nanoseconds. A file written this shortly after another may have been made from an earlier content of it that had the
same stamp: the clocks of file systems are coarse."""


def stamp_of(filename: str) -> Stamp | None:
    """Return the stamp of a file, None where there is none."""
    try:
        status = os.stat(filename)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def surely_after(written: int, stamp: Stamp) -> bool:
    """Whether something written at a time (nanoseconds) was surely made from the content that has this stamp."""
    return written - max(stamp[1], stamp[2]) > RACE
