"""The way from a key to its file, without following a link and without a clash on careless file systems."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from flowstone.exceptions import StoreError

EXACT = "exact"
"""Files are named exactly as their keys."""

CASELESS = "caseless"
"""Capitals and all but ASCII are written as %xx, since the file system would take `A` and `a` for one name."""

MAX_NAME_BYTES = 255

HAS_DIR_FD = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | NO_FOLLOW

_TRIES = 20

T = TypeVar("T")

_NEEDS_ESCAPE = re.compile(r"[^a-z0-9_.+=@,/ -]")
_ESCAPED = re.compile(rb"%([0-9a-f]{2})")


class LinkError(StoreError):
    """The way to a record leads through a symbolic link, which could lead out of the store."""


def encode(key: str, names: str) -> str:
    """Return the relative file name for `key` under the naming `names`."""
    if names == EXACT:
        return key
    name = _NEEDS_ESCAPE.sub(lambda found: "".join(f"%{byte:02x}" for byte in found[0].encode()), key)
    if any(len(segment) > MAX_NAME_BYTES for segment in name.split("/")):
        raise StoreError(
            f"Cache key {key[:40]!r}... is too long for this file system, which ignores case, so that capitals and "
            "non-ASCII letters take three bytes or more each; hash the key first."
        )
    return name


def decode(name: str, names: str) -> str:
    """Return the key whose file is called `name`; the inverse of `encode`."""
    if names == EXACT or "%" not in name:
        return name
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def reach(base: str, name: str, *, make: bool = False) -> tuple[int | None, str]:
    """Return how to name the file `name` below the folder `base` (which ends in "/") in a system call.

    The answer is a folder's descriptor, which the caller closes, and a name in it; or None and a path. Each folder on
    the way is opened from the one before and never through a link, so nobody can lead us out of the store by swapping
    a folder for a link meanwhile. With `make`, missing folders are made.

    Raises FileNotFoundError or NotADirectoryError if there is no such folder, LinkError if one is a link.
    """
    if "/" not in name:
        return None, base + name
    *folders, last = name.split("/")
    if not HAS_DIR_FD:
        return None, _walk(base, folders, make) + last
    where: int | None = None
    step = base + folders[0]
    for folder in [*folders[1:], None]:
        try:
            inner = _open_folder(step, where, make)
        finally:
            if where is not None:
                os.close(where)
        where, step = inner, folder or last
    return where, last


def at(base: str, name: str, act: Callable[[str, int | None], T], *, make: bool = False) -> T:
    """Return `act(name, folder)` for the file `name` below `base`; raises as `reach` and `act` do."""
    where, last = reach(base, name, make=make)
    try:
        return act(last, where)
    finally:
        if where is not None:
            os.close(where)


def make_at(base: str, name: str, act: Callable[[str, int | None], T]) -> T:
    """Do as `at` where `act` makes the file, and folders are made for it; others may be removing them as empty."""
    if "/" in name:
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                return at(base, name, act, make=True)
    return at(base, name, act, make=True)


def _open_folder(name: str, where: int | None, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=where)
    except FileNotFoundError:
        if not make:
            raise
    except OSError:
        refuse_link(name, where)
        raise
    try:
        os.mkdir(name, dir_fd=where)
    except FileExistsError:
        pass
    return _open_folder(name, where, False)


def refuse_link(name: str, where: int | None = None) -> None:
    try:
        status = os.stat(name, dir_fd=where, follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise LinkError(f"{name} in the store is a symbolic link; a store follows none. Replace it by a real folder.")


def _walk(base: str, folders: list[str], make: bool) -> str:
    """Do as `reach` where the system cannot open relative to a folder; a swap meanwhile is not noticed here."""
    path = base
    for folder in folders:
        path += folder
        refuse_link(path)
        if make:
            try:
                os.mkdir(path)
            except FileExistsError:
                pass
        path += "/"
    return path


def walk(base: str, prefix: str = "", below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the relative name and entry of each file below the folder `base`, if it starts with `prefix`.

    Follows no links. What vanishes meanwhile is left out. Raises OSError if a folder cannot be listed.
    """
    try:
        entries = os.scandir(base + below)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            name = below + entry.name
            if not entry.is_dir(follow_symlinks=False):
                if name.startswith(prefix):
                    yield name, entry
            elif (inner := name + "/").startswith(prefix[: len(inner)]):
                yield from walk(base, prefix, inner)
