"""Whether everything that a fingerprint looked at is still the same.

Looking again costs microseconds where a new fingerprint costs milliseconds: names must still mean the same objects,
functions have the same code objects, defaults and cells. Only values that can change in place are hashed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter, is_, itemgetter
from types import CellType, CodeType, FunctionType
from typing import Any

from flowstone.exceptions import HashError

_code_of = attrgetter("__code__")
_defaults_of = attrgetter("__defaults__")
_keyword_defaults_of = attrgetter("__kwdefaults__")
_contents_of = attrgetter("cell_contents")

Rehash = Callable[[Any], object]


class Guard:
    """Collects what was looked at while a fingerprint of `root` is made, and then tells whether it still holds.

    Nothing may be added once `holds` has been asked. The root itself is not kept alive.
    """

    def __init__(self, root: object) -> None:
        self._root_id = id(root)
        self.root: tuple[CodeType, object, object] | None = None  # its code and defaults, if it is a function
        self._names: dict[int, tuple[Mapping[str, object], dict[str, object]]] = {}
        self._absent: dict[int, tuple[Mapping[str, object], set[str]]] = {}
        self._sizes: list[tuple[Mapping[str, object], int]] = []
        self._functions: dict[int, tuple[FunctionType, CodeType, object, object]] = {}
        self._cells: dict[int, tuple[CellType, object]] = {}
        self._empty_cells: list[CellType] = []
        self._attributes: list[tuple[object, str, object]] = []
        self._kinds: list[tuple[Callable[[], object], type]] = []
        self._values: list[tuple[object, Rehash, object]] = []
        self._checks: list[Callable[[], bool]] | None = None

    def name(self, namespace: Mapping[str, object], name: str, value: object) -> None:
        self._names.setdefault(id(namespace), (namespace, {}))[1][name] = value

    def absent(self, namespace: Mapping[str, object], name: str) -> None:
        self._absent.setdefault(id(namespace), (namespace, set()))[1].add(name)

    def whole(self, namespace: Mapping[str, object]) -> None:
        """Guard every name of a namespace, and that there are no more of them."""
        for name, value in namespace.items():
            self.name(namespace, name, value)
        self._sizes.append((namespace, len(namespace)))

    def function(self, fn: FunctionType) -> None:
        if id(fn) == self._root_id:
            self.root = (fn.__code__, fn.__defaults__, fn.__kwdefaults__)
        else:
            self._functions[id(fn)] = (fn, fn.__code__, fn.__defaults__, fn.__kwdefaults__)
        if fn.__kwdefaults__:
            self.whole(fn.__kwdefaults__)

    def cell(self, cell: CellType) -> None:
        try:
            self._cells[id(cell)] = (cell, cell.cell_contents)
        except ValueError:
            self._empty_cells.append(cell)

    def kind(self, ask: Callable[[], object], kind: type) -> None:
        """Guard that what the function gives has a type."""
        self._kinds.append((ask, kind))

    def attribute(self, owner: object, name: str, value: object) -> None:
        self._attributes.append((owner, name, value))

    def value(self, value: object, rehash: Rehash, digest: object) -> None:
        """Guard a value that may change in place."""
        self._values.append((value, rehash, digest))

    def holds(self, root: Any) -> bool:
        """Whether all is as it was, for the same root object as then."""
        if self.root is not None:
            code, defaults, keyword_defaults = self.root
            if (
                root.__code__ is not code
                or root.__defaults__ is not defaults
                or root.__kwdefaults__ is not keyword_defaults
            ):
                return False
        if self._checks is None:
            self._checks = list(self._prepared())
        try:
            for check in self._checks:
                if not check():
                    return False
        except (KeyError, ValueError, AttributeError, HashError):
            return False
        return True

    def _prepared(self) -> list[Callable[[], bool]]:
        """Make checks that run in C over all they compare."""
        checks: list[Callable[[], bool]] = []
        for namespace, expected in self._names.values():
            checks.append(_same_names(namespace, expected))
        for namespace, names in self._absent.values():
            checks.append(_still_absent(namespace, names))
        if self._functions:
            fns, codes, defaults, keyword_defaults = zip(*self._functions.values())
            checks.append(lambda: all(map(is_, map(_code_of, fns), codes)))
            checks.append(lambda: all(map(is_, map(_defaults_of, fns), defaults)))
            if any(value is not None for value in keyword_defaults):
                checks.append(lambda: all(map(is_, map(_keyword_defaults_of, fns), keyword_defaults)))
        if self._cells:
            cells, contents = zip(*self._cells.values())
            checks.append(lambda: all(map(is_, map(_contents_of, cells), contents)))
        if self._sizes or self._attributes or self._kinds or self._empty_cells or self._values:
            checks.append(self._slow_ones_hold)
        return checks

    def _slow_ones_hold(self) -> bool:
        return (
            all(len(namespace) == size for namespace, size in self._sizes)
            and all(getattr(owner, name, None) is value for owner, name, value in self._attributes)
            and all(map(_is_empty, self._empty_cells))
            and all(type(ask()) is kind for ask, kind in self._kinds)
            and all(rehash(value) == digest for value, rehash, digest in self._values)
        )


def _same_names(namespace: Mapping[str, object], expected: dict[str, object]) -> Callable[[], bool]:
    names = tuple(expected)
    get = itemgetter(*names, names[0])  # at least two, so that it gives a tuple
    values = (*expected.values(), expected[names[0]])
    return lambda: all(map(is_, get(namespace), values))


def _still_absent(namespace: Mapping[str, object], names: set[str]) -> Callable[[], bool]:
    absent = frozenset(names)
    return lambda: namespace.keys().isdisjoint(absent)


def _is_empty(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is the test
    except ValueError:
        return True
    return False
