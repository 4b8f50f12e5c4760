"""The file that says a folder is a store, which format it has, and how its files are named."""

from __future__ import annotations

import os

from flowstone.exceptions import StoreError
from flowstone.filesystems.files import forget
from flowstone.filesystems.leftovers import temp_name
from flowstone.filesystems.paths import CASELESS, EXACT

MARKER = ".flowstone-store"
FORMAT = 1

_TITLE = "flowstone store"


def read_marker(root: str) -> str | None:
    """Return how files are named in the store at `root`, or None if it bears no marker (yet).

    Raises StoreError if the store has a format this version does not know.
    """
    try:
        with open(root + MARKER, "rb") as file:
            text = file.read(1000).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not text.strip("\0"):  # lost in a power failure; the next write makes it anew
        return None
    title, *lines = text.splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    if title != _TITLE or not fields.get("format", "").isdecimal():
        raise StoreError(f"{root + MARKER} is not a marker of a flowstone store; choose another folder or remove it.")
    if int(fields["format"]) > FORMAT:
        raise StoreError(
            f"The store {root} has format {fields['format']}, written by a newer flowstone; this one knows formats up "
            f"to {FORMAT}. Update flowstone, or use another folder."
        )
    names = fields.get("names", EXACT)
    if names not in (EXACT, CASELESS):
        raise StoreError(
            f"The store {root} names its files in a way ({names!r}) this flowstone does not know; update it."
        )
    return names


def make_marker(root: str, temps: str) -> str:
    """Mark the folder `root` as a store, unless it is marked; return how its files are named."""
    found = read_marker(root)
    if found is not None:
        return found
    temp = f"{temps}{temp_name()}-A\u00e9"
    try:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            names = _probe(temp)
            os.write(fd, f"{_TITLE}\nformat: {FORMAT}\nnames: {names}\n".encode())
        finally:
            os.close(fd)
        os.replace(temp, root + MARKER)  # two processes may both come here; they probed the same and write the same
    except BaseException:
        forget(temp)
        raise
    return names


def _probe(temp: str) -> str:
    """Return how to name files on the file system of `temp`, whose name ends in a capital and an accented letter."""
    other_case, other_form = f"{temp[:-2]}a\u00e9", f"{temp[:-1]}e\u0301"
    return CASELESS if os.path.lexists(other_case) or os.path.lexists(other_form) else EXACT
