"""The natural order of keys and members, where they have one that is the same everywhere."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from operator import ne
from typing import Any

_EXACT = 1 << 53  # ints below are told apart as floats, which sort in half the time when they are in no order
_SAMPLE = 64


def kinds_of(values: Collection[Any]) -> set[type]:
    """The exact types of the elements; faster than a set of all where all are alike."""
    kinds = list(map(type, values))
    if kinds and kinds.count(kinds[0]) == len(kinds):
        return {kinds[0]}
    return set(kinds)


def in_order(values: Collection[Any]) -> list[Any] | None:
    """The values sorted, if they are all str, all bytes, all int, all float without NaN, or tuples alike of such.

    Tuples are alike when all have the same length, and the items at each place are all str, bytes, int or float.
    """
    kinds = kinds_of(values)
    if not kinds:
        return []
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    if kind is int:
        return _ints(list(values))
    if kind is tuple:
        return _tuples(list(values))
    return sorted(values) if _sortable(kind, values) else None


def _sortable(kind: type, values: Collection[Any]) -> bool:
    if kind is float:
        return not any(map(ne, values, values))
    return kind is str or kind is int or kind is bytes


def _ints(values: list[int]) -> list[int]:
    start = values[:_SAMPLE]
    if start != sorted(start) and len(values) > _SAMPLE and min(values) > -_EXACT and max(values) < _EXACT:
        return sorted(values, key=float)
    return sorted(values)


def _tuples(values: list[tuple[Any, ...]]) -> list[tuple[Any, ...]] | None:
    width = len(values[0])
    lengths = list(map(len, values))
    if lengths.count(width) != len(values):
        return None
    items = list(chain.from_iterable(values))
    for place in range(width):
        column = items[place::width]
        if len(kinds := kinds_of(column)) > 1 or not _sortable(kinds.pop(), column):
            return None
    return sorted(values)
