"""Builtins beyond the flat ones: complex, range, slice, buffers, classes, exceptions, enums."""

from __future__ import annotations

from typing import Any

from flowstone.hashing.form import Bag, Node, Pairs, State, buffer_digest
from flowstone.hashing.objects import cached_names, reduced
from flowstone.hashing.registry import register_type


def _complex(value: complex) -> Node:
    return Node("complex", (value.real, value.imag))


def _range(value: range) -> Node:
    return Node("range", (value.start, value.stop, value.step))


def _slice(value: slice) -> Node:
    return Node("slice", (value.start, value.stop, value.step), (".start", ".stop", ".step"))


def _singleton(value: object) -> Node:
    return Node("singleton", (repr(value),))


def _bytearray(value: bytearray) -> Node:
    return Node("bytearray", (len(value), buffer_digest(value)))


def _memoryview(value: memoryview) -> Node:
    flat = value if value.c_contiguous else value.tobytes()
    if isinstance(flat, memoryview):
        flat = flat.cast("B") if flat.nbytes else b""
    return Node("memoryview", (value.format, value.shape, buffer_digest(flat)))


def _mappingproxy(value: Any) -> Node:
    return Node("mappingproxy", (value.copy(),))


def _keys(value: Any) -> Node:
    return Bag("dict keys", list(value), lambda place: "{}")


def _items(value: Any) -> Node:
    items = list(value)
    return Pairs("dict items", [part for item in items for part in item], lambda place: f"[{items[place // 2][0]!r}]")


def _values(value: Any) -> Node:
    return Node("dict values", list(value), lambda place: f"[{place}]")


def _enum(value: Any) -> Node:
    told = None if type(value._value_) is object else value._value_  # object(): a member that is nothing but its name
    return Node("enum", (value._name_, told), (".name", ".value"), kind=type(value))


def _flag(value: Any) -> Node:
    return Node("flag", (value._value_,), (".value",), kind=type(value))


def _exception(value: BaseException) -> Node:
    """By class, arguments, attributes and cause; where it was raised does not count."""
    kind = type(value)
    if any(not _REDUCERS.isdisjoint(base.__dict__) for base in kind.__mro__ if base.__module__ != "builtins"):
        return reduced(value, value.__reduce_ex__(4))
    names = next((names for base, names in _TOLD.items() if isinstance(value, base)), ())
    cached = cached_names(kind)
    state = {name: item for name, item in value.__dict__.items() if name not in cached}
    return Node(
        "exception",
        (value.args, State({name: getattr(value, name) for name in names}), State(state), value.__cause__),
        (".args", "", "", ".__cause__"),
        kind=kind,
    )


_REDUCERS = frozenset({"__reduce__", "__reduce_ex__", "__getstate__"})
_TOLD: dict[type, tuple[str, ...]] = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    ImportError: ("name", "path"),
}


register_type("builtins.complex", _complex)
register_type("builtins.range", _range)
register_type("builtins.slice", _slice)
register_type("builtins.ellipsis", _singleton)
register_type("builtins.NotImplementedType", _singleton)
register_type("builtins.bytearray", _bytearray)
register_type("builtins.memoryview", _memoryview)
register_type("builtins.mappingproxy", _mappingproxy)
register_type("builtins.dict_keys", _keys)
register_type("builtins.dict_items", _items)
register_type("builtins.dict_values", _values)
register_type("builtins.BaseException", _exception, subclasses=True)
register_type("enum.Enum", _enum, subclasses=True)
register_type("enum.Flag", _flag, subclasses=True)
