"""What a function keeps between its calls: values that it changes itself (docs/adr/0003)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Final

from flowstone.fingerprints.analysis import analyse_function
from flowstone.fingerprints.plainly import is_class, is_module, is_runnable
from flowstone.fingerprints.refs import CHANGED, CHANGED_SELF, GETATTR, NAME, Ref

OWN_MEMORY: Final = "the function changes it itself, so its value does not count"


class Memory:
    """The values that one piece of code changes, by the names and attributes that lead to them."""

    __slots__ = ("_changed", "_is_own", "_read")

    def __init__(self, refs: Iterable[Ref], is_own: Callable[[type], bool]) -> None:
        self._is_own = is_own
        self._changed: set[tuple[str, ...]] = set()
        self._read: dict[tuple[str, ...], set[str]] = {}  # the attributes read of what a path leads to
        for kind, root, chain in refs:
            path = (root, *chain)
            if kind == CHANGED:
                self._changed.add(path)
            elif kind in (NAME, GETATTR):
                for length in range(1, len(path)):
                    self._read.setdefault(path[:length], set()).add(path[length])

    def holds(self, value: Any, path: tuple[str, ...]) -> bool:
        """Whether the value that `path` leads to is memory: changed in sight, or by a method of the user's own."""
        if is_code(value):
            return False
        if self._changed and any(changed[: len(path)] == path for changed in self._changed):
            return True
        methods = self._read.get(path)
        return bool(methods) and self._is_own(type(value)) and _changes_itself(type(value), methods or ())


def is_code(value: Any) -> bool:
    """Whether something is followed and not counted by value, so that it is nobody's memory."""
    return type(value) is FunctionType or is_class(value) or is_module(value) or is_runnable(value)


def _changes_itself(kind: type, methods: Iterable[str]) -> bool:
    """Whether one of these methods sets an attribute of its object, or changes what one holds."""
    for name in methods:
        method = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        if type(method) is FunctionType and any(ref[0] == CHANGED_SELF for ref in analyse_function(method).refs):
            return True
    return False
