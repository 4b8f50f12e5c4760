"""What a forked child has to forget: it holds none of its parent's locks and runs none of its threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_forgetful: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def after_fork(thing: T, forget: Callable[[T], None]) -> None:
    """Have `forget(thing)` called in every child that this process forks, for as long as `thing` lives."""
    _forgetful[thing] = forget


def _forget() -> None:
    for thing, forget in list(_forgetful.items()):
        forget(thing)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_forget)
