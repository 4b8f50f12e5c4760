"""Long sequences, written by columns: what all elements have in common once, what tells them apart as flat lists.

A list of a thousand records becomes one list for each field; of a thousand dates, one list of their numbers. So the
cost of an element is a few steps at C speed. What cannot be told this way (or refers to itself) is left to the walk,
which takes element by element; which of the two it is depends on the value alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from flowstone.hashing.flat import ATOMS, ORDERED_KEYS, numbers, too_long, written
from flowstone.hashing.form import Items, Node, Refused, State
from flowstone.hashing.order import kinds_of

FEWEST = 16
CHUNK = 4096  # longer sequences are cut into pieces of this many elements
MAX_LEVELS = 12
CELLS = 256  # per element of the sequence
OBJECTS = 32  # of these, values to unfold; what refers to itself, or shares much, would unfold without end

Unfold = Callable[[Sequence[Any]], list[Node]]
ClassToken = Callable[[type], bytes]
_SETS = frozenset({set, frozenset})
_WRAPPERS = {State: "attributes", Items: "values"}


class _NoColumns(Exception):
    pass


def columns(mark: bytes, values: Sequence[Any], unfold: Unfold, class_token: ClassToken) -> bytes | None:
    """The content of a sequence of FEWEST to CHUNK elements, or None if it has no columns."""
    if not FEWEST <= len(values) <= CHUNK:
        return None
    table = _Table(unfold, class_token, len(values))
    try:
        told = table.column(values, MAX_LEVELS)
    except _NoColumns:
        return None
    if type(told) is bytes:
        return mark + told
    return written(mark, told, table.floats)


class _Table:
    """The columns of one sequence: nested lists and tuples of atoms, ready for `marshal`."""

    __slots__ = ("class_token", "floats", "objects", "room", "unfold")

    def __init__(self, unfold: Unfold, class_token: ClassToken, length: int) -> None:
        self.unfold = unfold
        self.class_token = class_token
        self.room = CELLS * length
        self.objects = OBJECTS * length
        self.floats = False

    def column(self, values: Sequence[Any], levels: int) -> Any:
        """Bytes for many numbers of one kind, a list for other atoms; else a tuple that begins with what they are."""
        self.room -= len(values)
        if self.room < 0 or levels == 0:
            raise _NoColumns
        if len(values) >= FEWEST:
            content = numbers(values if type(values) is list else list(values))
            if content is not None:
                return content
        kinds = kinds_of(values)
        if kinds <= ATOMS:
            return self.atoms(values, kinds)
        if len(kinds) > 1:
            return self.mixed(values, levels)
        (kind,) = kinds
        if kind is list or kind is tuple:
            return self.sequences(kind.__name__, values, levels)
        if kind is dict:
            return self.dicts(values, levels)
        if kind in _SETS:
            return self.sets(kind.__name__, values)
        return self.nodes(values, levels)

    def atoms(self, values: Sequence[Any], kinds: set[type]) -> list[Any]:
        if too_long(values, kinds):
            raise _NoColumns
        self.floats = self.floats or float in kinds
        return values if type(values) is list else list(values)

    def mixed(self, values: Sequence[Any], levels: int) -> Any:
        """Values of several types: which is of which, then a column for each type, atoms counting as one."""
        groups: dict[type, list[Any]] = {}
        numbers: dict[type, int] = {}
        which = []
        for value in values:
            kind = type(value)
            if kind in ATOMS:
                kind = object
            if kind not in numbers:
                numbers[kind] = len(numbers)
                groups[kind] = []
            which.append(numbers[kind])
            groups[kind].append(value)
        if len(groups) > 256:
            raise _NoColumns
        return "mixed", bytes(which), [self.column(group, levels - 1) for group in groups.values()]

    def sequences(self, label: str, values: Sequence[Any], levels: int) -> Any:
        lengths = self.lengths(values)
        return label, _told(lengths), self.column(list(chain.from_iterable(values)), levels - 1)

    def lengths(self, values: Sequence[Any]) -> list[int]:
        """How long each value is; asked before their elements are laid side by side."""
        lengths = list(map(len, values))
        if sum(lengths) > self.room:
            raise _NoColumns
        return lengths

    def sets(self, label: str, values: Sequence[Any]) -> Any:
        """Sets whose members are all str, or all int; others are in no order that costs little to know."""
        lengths = self.lengths(values)
        self.room -= sum(lengths)
        if kinds_of(list(chain.from_iterable(values))) not in ORDERED_KEYS:
            raise _NoColumns
        return label, _told(lengths), list(chain.from_iterable(map(sorted, values)))

    def dicts(self, values: Sequence[dict[Any, Any]], levels: int) -> Any:
        lengths = self.lengths(values)
        kinds = kinds_of(list(chain.from_iterable(values)))
        if kinds in ORDERED_KEYS and lengths.count(lengths[0]) == len(lengths):
            keys = sorted(values[0])
            try:
                return "dict", keys, self.fields(values, keys, levels)
            except KeyError:
                pass
        if not kinds <= {str, int}:
            raise _NoColumns
        return self.pairs(values, lengths, levels)

    def pairs(self, values: Sequence[dict[Any, Any]], lengths: list[int], levels: int) -> Any:
        """Dicts whose keys are not all the same: all keys, each dict's in order, then the values they lead to."""
        try:
            keys = list(map(sorted, values))
        except TypeError:  # str and int in one dict
            raise _NoColumns from None
        told = [value[key] for value, of in zip(values, keys) for key in of]
        return "dicts", _told(lengths), list(chain.from_iterable(keys)), self.column(told, levels - 1)

    def fields(self, values: Sequence[dict[Any, Any]], keys: list[Any], levels: int) -> list[Any]:
        """A column for each key; raises KeyError if one is missing somewhere."""
        self.room -= len(keys)
        if len(keys) == 1:
            return [self.column(list(map(itemgetter(keys[0]), values)), levels - 1)]
        rows = list(map(itemgetter(*keys), values)) if keys else ()
        return [self.column(column, levels - 1) for column in zip(*rows)]

    def nodes(self, values: Sequence[Any], levels: int) -> Any:
        """Values of one type: a column for each part they unfold into."""
        self.objects -= len(values)
        if self.objects < 0:
            raise _NoColumns
        try:
            nodes = self.unfold(values)
        except Refused:
            raise _NoColumns from None  # the walk will meet it too, and say where it is
        first = nodes[0]
        label, kind, width = first.label, first.kind, len(first.parts)
        for node in nodes:
            if type(node) is not Node or node.label != label or node.kind is not kind or len(node.parts) != width:
                raise _NoColumns
        parts = [self.column(_bare(column), levels - 1) for column in zip(*[node.parts for node in nodes])]
        return "node", label, kind and self.class_token(kind), parts


def _told(lengths: list[int]) -> int | list[int]:
    return lengths[0] if lengths.count(lengths[0]) == len(lengths) else lengths


def _bare(values: tuple[Any, ...]) -> Sequence[Any]:
    """Without our own wrappers, which only carry names."""
    if set(map(type, values)).isdisjoint(_WRAPPERS):
        return values
    return [getattr(value, _WRAPPERS[type(value)]) if type(value) in _WRAPPERS else value for value in values]
