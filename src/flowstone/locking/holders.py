"""Names of those who hold locks: paths, so that a child is known by its ancestors.

`"p/q/r"` is a child of `"p/q"`, which is a child of `"p"`. What an ancestor holds, its descendants may enter.
"""

from __future__ import annotations

import os
from itertools import count

from flowstone.locking.forks import after_fork


class _Names:
    """Names nobody else gives: 48 random bits for the process, then a counter. A forked child draws again."""

    __slots__ = ("__weakref__", "following", "prefix")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.prefix = os.urandom(6).hex() + "-"
        self.following = count().__next__


_names = _Names()
after_fork(_names, _Names.renew)


def holder_path(parent: str | None) -> str:
    """Return a name no other holder has, on any machine: below `parent`, or of a new tree if that is None."""
    if parent is None:
        return f"{_names.prefix}{_names.following():x}"
    return f"{parent}/{_names.prefix}{_names.following():x}"


def lineage(holder: str) -> list[str]:
    """Return `holder` and its ancestors, nearest first."""
    names = [holder]
    cut = holder.rfind("/")
    while cut > 0:
        names.append(holder[:cut])
        cut = holder.rfind("/", 0, cut)
    return names


def within(holder: str, ancestor: str) -> bool:
    """Say whether `holder` is `ancestor` or below it."""
    return holder == ancestor or (holder.startswith(ancestor) and holder[len(ancestor)] == "/")


def root(holder: str) -> str:
    """Return the outermost ancestor of `holder`."""
    return holder[: holder.find("/", 1)] if "/" in holder[1:] else holder
