"""Flat values: trees of exact builtins, written by `marshal` at C speed.

A flat value is None, a bool, int, float, str or bytes, or a tuple, list or dict of flat values within the bounds
below. Types are checked level by level with `set(map(type, ...))`, so no Python code runs for an element. Format 2 of
`marshal` is the same on every supported Python, does not see sharing, and tells all of these types apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from marshal import dumps as _dumps
from operator import itemgetter
from typing import Any

CHUNK = 4096  # longer sequences are cut into pieces of this many elements
MAX_LEVELS = 8
MAX_VALUES = 1 << 18
MAX_BYTES = 1 << 22
MAX_SCALAR = 1 << 16

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
CONTAINERS = frozenset({tuple, list, dict})
TREE = ATOMS | CONTAINERS
_SIZED = frozenset({str, bytes})
_ONE_SIZED = ({str}, {bytes})
_ORDERED_KEYS = ({str}, {int}, set[type]())

# 0/0 gives a NaN with its sign set on x86 and without on ARM; literals have it unset. They are one value to us.
_MINUS_NAN = b"\0\0\0\0\0\0\xf8\xff"
_NAN = float("nan")

_key_of = itemgetter(0)
dumps: Callable[[Any, int], bytes] = _dumps


def scalar(value: Any) -> bytes | None:
    """The content of a value whose exact type is in ATOMS; None for a long str or bytes."""
    kind = type(value)
    if kind is float and value != value:
        return b"m" + dumps(_one_nan(value), 2)
    if kind in _SIZED and len(value) > MAX_SCALAR:
        return None
    return b"m" + dumps(value, 2)


def flat(value: Any) -> bytes | None:
    """The content of a flat container, or None if it is not flat."""
    if type(value) is not dict:
        kinds = set(map(type, value))
        if kinds <= ATOMS:
            if len(value) > CHUNK or _too_long(value, kinds):
                return None
            return _written(value, float in kinds)
        if not kinds <= TREE:
            return None
    return _tree(value)


def _too_long(values: Iterable[Any], kinds: set[type]) -> bool:
    """Spare the copy of what is surely over MAX_BYTES; looks only where that is cheap, since `_written` decides."""
    return kinds in _ONE_SIZED and sum(map(len, values)) > MAX_BYTES


def _tree(root: Any) -> bytes | None:
    level: list[Any] = [root]
    count = 0
    tidy = True
    floats = False
    for _ in range(MAX_LEVELS):
        lengths = list(map(len, level))
        count += sum(lengths)
        if count > MAX_VALUES or max(lengths) > CHUNK:
            return None
        dicts = [values for values in level if type(values) is dict]
        if dicts:
            order = _key_order(dicts)
            if order is None:
                return None
            tidy = tidy and order
        children = _children(level, dicts)
        kinds = set(map(type, children))
        if not kinds <= TREE or _too_long(children, kinds):
            return None
        floats = floats or float in kinds
        if kinds.isdisjoint(CONTAINERS):
            return _written(root if tidy else _sorted(root), floats)
        level = [child for child in children if type(child) in CONTAINERS]
    return None


def _children(level: list[Any], dicts: list[dict[Any, Any]]) -> list[Any]:
    if not dicts:
        return list(chain.from_iterable(level))
    if len(dicts) == 1 == len(level):
        return list(dicts[0].values())
    return list(chain.from_iterable([values.values() if type(values) is dict else values for values in level]))


def _key_order(dicts: list[dict[Any, Any]]) -> bool | None:
    """Whether all keys stand in order already; None if some dict's keys are neither all str nor all int."""
    if not set(map(type, chain.from_iterable(dicts))) <= {str, int}:
        return None
    tidy = True
    for keys in set(map(tuple, dicts)):
        if set(map(type, keys)) not in _ORDERED_KEYS:
            return None
        tidy = tidy and sorted(keys) == list(keys)
    return tidy


def _sorted(value: Any) -> Any:
    """The same tree with every dict's keys in order."""
    kind = type(value)
    if kind is dict:
        return {
            key: _sorted(item) if type(item) in CONTAINERS else item for key, item in sorted(value.items(), key=_key_of)
        }
    return kind([_sorted(item) if type(item) in CONTAINERS else item for item in value])


def _written(value: Any, floats: bool) -> bytes | None:
    written = dumps(value, 2)
    if len(written) > MAX_BYTES:
        return None
    if floats and _MINUS_NAN in written:
        written = dumps(_one_nan(value), 2)
    return b"m" + written


def _one_nan(value: Any) -> Any:
    """The same tree with the default NaN for each NaN that differs from it in the sign alone."""
    kind = type(value)
    if kind is float:
        return _NAN if value != value and dumps(value, 2).endswith(_MINUS_NAN) else value
    if kind is dict:
        return {key: _one_nan(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(map(_one_nan, value))
    return value
