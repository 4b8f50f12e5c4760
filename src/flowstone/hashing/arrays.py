"""numpy: arrays by dtype, shape and bytes in C order, whatever their layout in memory; scalars, dtypes, ufuncs."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowstone.hashing.form import Node, Refused, State, buffer_digest, buffer_hasher
from flowstone.hashing.registry import register_type

_PIECE = 1 << 22  # bytes copied at a time where memory is not contiguous


def _array(value: Any) -> Node:
    kind = type(value)
    if kind is np.ndarray or kind is np.memmap:
        return plain_array(value)
    state = getattr(value, "__dict__", {})
    return Node("array subclass", (value.view(np.ndarray), State(state)), ("", ""), kind=kind)


def plain_array(value: np.ndarray[Any, Any]) -> Node:
    """Unfold an array, seen as a bare ndarray."""
    dtype = value.dtype
    if dtype.names is not None and (dtype.hasobject or _has_holes(dtype)):
        fields = [value[name] for name in dtype.names]
        return Node("array of fields", (dtype_form(dtype), value.shape, *fields), ("", "", *map(_field, dtype.names)))
    if dtype.kind in "OT":  # objects; strings of variable width, whose bytes are pointers
        return Node("array of objects", (dtype_form(dtype), value.shape, value.ravel().tolist()))
    if dtype.hasobject:
        raise Refused(type(value), f"its dtype {dtype} holds Python objects in a form that is not known")
    return Node("array", (dtype_form(dtype), value.shape, array_digest(value)))


def _field(name: str) -> str:
    return f"[{name!r}]"


def array_digest(value: np.ndarray[Any, Any]) -> bytes:
    """The buffer digest of an array's elements in C order; at most a few megabytes are copied at a time."""
    if value.dtype.kind in "fc" and value.dtype.char in "gG":
        return _long_double_digest(value)
    if value.nbytes == 0:
        return buffer_digest(b"")
    if value.flags.c_contiguous:
        return buffer_digest(value.reshape(-1).view("u1").data)
    hasher = buffer_hasher()
    for piece in pieces(value):
        hasher.update(piece.reshape(-1).view("u1").data)
    return hasher.digest()


def pieces(value: Any) -> Any:
    """Contiguous copies of an array's parts, in C order."""
    if value.nbytes <= _PIECE:
        yield np.ascontiguousarray(value)
    elif value.ndim == 1 or value[:1].nbytes <= _PIECE:
        step = max(1, _PIECE // value[:1].nbytes)
        for start in range(0, len(value), step):
            yield np.ascontiguousarray(value[start : start + step])
    else:
        for part in value:
            yield from pieces(part)


def _long_double_digest(value: Any) -> bytes:
    """80-bit floats lie in 16 bytes, six of which hold whatever was there before."""
    width = 10 if np.finfo(value.dtype).nmant == 63 else np.dtype(np.longdouble).itemsize
    hasher = buffer_hasher()
    for piece in pieces(value):
        numbers = piece.reshape(-1).view("u1").reshape(-1, np.dtype(np.longdouble).itemsize)
        hasher.update(np.ascontiguousarray(numbers[:, :width]).data.cast("B"))
    return hasher.digest()


def dtype_form(dtype: Any) -> object:
    """A dtype as a flat value: its string, or its fields with their places."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("sub", dtype_form(base), shape)
    if dtype.names is None:
        return dtype.str if dtype.kind != "T" else f"T:{getattr(dtype, 'na_object', '')!r}"
    fields = [(name, dtype_form(dtype.fields[name][0]), dtype.fields[name][1]) for name in dtype.names]
    return ("fields", fields, dtype.itemsize)


def _has_holes(dtype: Any) -> bool:
    """Whether a structured dtype has bytes that belong to no field; what is in them is accidental."""
    if dtype.subdtype is not None:
        return _has_holes(dtype.subdtype[0])
    if dtype.names is None:
        return dtype.char in "gG"
    fields = [dtype.fields[name][0] for name in dtype.names]
    return sum(field.itemsize for field in fields) != dtype.itemsize or any(map(_has_holes, fields))


def _masked(value: Any) -> Node:
    mask = np.ma.getmaskarray(value)
    fill = np.asarray(np.ma.default_fill_value(value) if value._fill_value is None else value._fill_value)
    state = {name: item for name, item in value.__dict__.items() if name not in _MASKED_STATE}
    parts = (value.view(np.ndarray), mask, fill.astype(value.dtype), bool(value.hardmask), State(state))
    return Node("masked array", parts, (".data", ".mask", ".fill_value", "", ""), kind=type(value))


_MASKED_STATE = frozenset(
    {"_mask", "_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict"}
)


def _masked_constant(value: Any) -> Node:
    return Node("singleton", ("numpy.ma.masked",))


def _scalar(value: Any) -> Node:
    kind = type(value)
    return Node("array scalar", (np.asarray(value),), kind=None if kind is value.dtype.type else kind)


def _dtype(value: Any) -> Node:
    return Node("dtype", (dtype_form(value),))


def _ufunc(value: Any) -> Node:
    if value.__name__.endswith("(vectorized)"):
        raise Refused(type(value), "it was made from a Python function that cannot be seen; pass the function")
    return Node("ufunc", (value.__name__, value.types, value.identity, value.signature))


register_type("numpy.ndarray", _array, subclasses=True)
register_type("numpy.generic", _scalar, subclasses=True)
register_type("numpy.dtype", _dtype, subclasses=True)
register_type("numpy.ufunc", _ufunc)
for _module in ("numpy.ma", "numpy.ma.core"):
    register_type(f"{_module}.MaskedArray", _masked, subclasses=True)
    register_type(f"{_module}.MaskedConstant", _masked_constant)
