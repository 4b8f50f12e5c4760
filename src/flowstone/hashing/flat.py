"""Flat values: small trees of exact builtins, written by `marshal` at C speed.

Format 2 of `marshal` is the same on every supported Python, does not see sharing, and tells all of these types apart.
What it would take for something it is not (subclasses, buffers) is kept away by looking at the exact types first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from marshal import dumps as _dumps
from typing import Any

MAX_VALUES = 256
MAX_LEVELS = 8
MAX_BYTES = 1 << 22
MAX_SCALAR = 1 << 16

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
CONTAINERS = frozenset({tuple, list, dict})
_TREE = ATOMS | CONTAINERS
_SIZED = frozenset({str, bytes})
ORDERED_KEYS = ({str}, {int}, set[type]())

# 0/0 gives a NaN with its sign set on x86 and without on ARM; literals have it unset. They are one value to us.
_MINUS_NAN = b"\0\0\0\0\0\0\xf8\xff"
_NAN = float("nan")

dumps: Callable[[Any, int], bytes] = _dumps


class _NotFlat(Exception):
    pass


def scalar(value: Any) -> bytes | None:
    """The content of a value whose exact type is in ATOMS; None for a long str or bytes."""
    kind = type(value)
    if kind in _SIZED and len(value) > MAX_SCALAR:
        return None
    if kind is float and value != value:
        value = one_nan(value)
    return b"m" + dumps(value, 2)


def flat(value: Any) -> bytes | None:
    """The content of a tuple, list or dict, or None if it is not flat."""
    if len(value) > MAX_VALUES:
        return None
    is_dict = type(value) is dict
    kinds = set(map(type, value.values() if is_dict else value))
    if kinds <= ATOMS:  # the common case, without a walk
        if too_long(value.values() if is_dict else value, kinds):
            return None
        if is_dict:
            if set(map(type, value)) not in ORDERED_KEYS:
                return None
            value = {key: value[key] for key in sorted(value)}
        return written(b"m", value, float in kinds)
    if not kinds <= _TREE:
        return None
    try:
        tree = _ordered(value, MAX_LEVELS, [MAX_VALUES])
    except _NotFlat:
        return None
    return written(b"m", tree, True)


def _ordered(value: Any, levels: int, room: list[int]) -> Any:
    """The same tree with every dict's keys in order; raises _NotFlat."""
    room[0] -= len(value)
    if levels == 0 or room[0] < 0:
        raise _NotFlat
    kind = type(value)
    if kind is dict:
        return _ordered_dict(value, levels, room)
    kinds = set(map(type, value))
    if kinds <= ATOMS:
        return _checked(value, kinds)
    if not kinds <= _TREE:
        raise _NotFlat
    return kind([item if type(item) in ATOMS else _ordered(item, levels - 1, room) for item in value])


def _ordered_dict(value: dict[Any, Any], levels: int, room: list[int]) -> dict[Any, Any]:
    if set(map(type, value)) not in ORDERED_KEYS:
        raise _NotFlat
    keys = sorted(value)
    kinds = set(map(type, value.values()))
    if kinds <= ATOMS:
        _checked(value.values(), kinds)
        return {key: value[key] for key in keys}
    if not kinds <= _TREE:
        raise _NotFlat
    return {key: item if type(item := value[key]) in ATOMS else _ordered(item, levels - 1, room) for key in keys}


def _checked(values: Any, kinds: set[type]) -> Any:
    if too_long(values, kinds):
        raise _NotFlat
    return values


def too_long(values: Iterable[Any], kinds: set[type]) -> bool:
    """Spare the copy of what is surely over MAX_BYTES; looks only where that is cheap, since `written` decides."""
    return len(kinds) == 1 and kinds <= _SIZED and sum(map(len, values)) > MAX_BYTES


def written(mark: bytes, value: Any, floats: bool) -> bytes | None:
    """The content under a mark, or None if it would be too long."""
    content = dumps(value, 2)
    if len(content) > MAX_BYTES:
        return None
    if floats and _MINUS_NAN in content:
        content = dumps(one_nan(value), 2)
    return mark + content


def numbers(values: list[Any]) -> bytes | None:
    """A list of ints of 32 bits, or of floats, as `marshal` writes it; None for any other list.

    Looks at no type: when all items of the written list have the same width, and begin with the same code where they
    must if they are what the first is, then they are. `sum` keeps containers away from `marshal`, which would follow
    them wherever they lead; it is far cheaper than a look at each type.
    """
    kind = type(values[0])
    if kind not in _NUMBERS or type(values[-1]) is not kind or type(values[len(values) // 2]) is not kind:
        return None
    code, width = _NUMBERS[kind]
    try:
        total = sum(values)
        content = dumps(values, 2)
    except Exception:  # whatever is in there, it is not a list of numbers
        return None
    if len(content) != 5 + width * len(values) or content[5::width].count(code) != len(values):
        return None
    if total != total and _MINUS_NAN in content:
        content = dumps(one_nan(values), 2)
    return content


_NUMBERS = {int: (b"i", 5), float: (b"g", 9)}


def one_nan(value: Any) -> Any:
    """The same tree with the default NaN for each NaN that differs from it in the sign alone."""
    kind = type(value)
    if kind is float:
        return _NAN if value != value and dumps(value, 2).endswith(_MINUS_NAN) else value
    if kind is dict:
        return {key: one_nan(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(map(one_nan, value))
    return value
