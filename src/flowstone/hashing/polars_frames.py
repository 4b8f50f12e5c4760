"""polars: frames by their columns in order, dtypes and values; chunks and what lies under a null make no difference."""

from __future__ import annotations

from array import array
from typing import Any

import polars as pl

from flowstone.hashing.form import Node, Refused, buffer_hasher
from flowstone.hashing.registry import register_type

_ROWS = 1 << 20  # at a time where a copy has to be made


def _frame(value: Any) -> Node:
    names = value.columns
    columns = [value.get_column(name) for name in names]
    return Node("polars frame", (value.shape, *columns), lambda place: f"[{names[place - 1]!r}]" if place else "")


def _series(value: Any) -> Node:
    return Node("polars series", (value.name, repr(value.dtype), _values(value)))


def _values(series: Any) -> object:
    """What a series holds: its length, the places of nulls, and of the other values their bytes."""
    size = len(series)
    nulls = b""
    if series.null_count() and series.dtype != pl.Null:
        nulls = _numbers(series.is_null().arg_true().cast(pl.UInt64))
        series = series.drop_nulls()
    return (size, nulls, _told(series))


def _told(series: Any) -> object:
    """The values of a series without nulls; nested ones by lengths and contents."""
    dtype = series.dtype
    if dtype == pl.Null:
        return None
    if dtype == pl.Boolean:
        return _numbers(series.cast(pl.UInt8))
    if dtype == pl.String or dtype == pl.Binary:
        return _texts(series)
    if dtype == pl.Categorical or dtype == pl.Enum:
        return _texts(series.cast(pl.String))
    if dtype == pl.List:
        lengths = series.list.len()
        return (_numbers(lengths), _values(series.filter(lengths > 0).explode()))
    if dtype == pl.Array:
        return _values(series.explode())
    if dtype == pl.Struct:
        return [(field.name, _values(series.struct.field(field.name))) for field in dtype.fields]
    if series.to_physical().dtype in _WIDE:
        return _wide_numbers(series.to_physical())
    if dtype == pl.Object or dtype == pl.Decimal:
        return series.to_list()
    if dtype.is_numeric() or dtype.is_temporal():
        return _numbers(series.to_physical())
    raise Refused(type(series), f"polars dtype {dtype!r} has no form that stays the same; cast it first")


def _numbers(series: Any) -> bytes:
    """Digest numbers of fixed width, chunk by chunk, without a copy."""
    hasher = buffer_hasher()
    for chunk in series.get_chunks():
        hasher.update(_bytes_of(chunk))
    return hasher.digest()


def _bytes_of(chunk: Any) -> memoryview:
    try:
        return memoryview(chunk.to_numpy(allow_copy=False)).cast("B")
    except ModuleNotFoundError:  # polars does without numpy
        return memoryview(array(_CODES[str(chunk.dtype)], chunk.to_list())).cast("B")


_CODES = {"Float32": "f", "Float64": "d"} | {
    f"{sign}Int{8 * width}": code
    for width, codes in ((1, "bB"), (2, "hH"), (4, "iI"), (8, "qQ"))
    for sign, code in zip(("", "U"), codes)
}
_WIDE = tuple(getattr(pl, name) for name in ("Int128", "UInt128") if hasattr(pl, name))


def _wide_numbers(series: Any) -> bytes:
    hasher = buffer_hasher()
    for start in range(0, len(series), _ROWS):
        numbers = series.slice(start, _ROWS).to_list()
        hasher.update(b"".join([number.to_bytes(17, "little", signed=True) for number in numbers]))
    return hasher.digest()


def _texts(series: Any) -> object:
    """Strings by their lengths in bytes and their text laid side by side."""
    text = series.dtype == pl.String
    hasher = buffer_hasher()
    for start in range(0, len(series), _ROWS):
        part = series.slice(start, _ROWS)
        hasher.update(part.str.join("").item().encode() if text else b"".join(part.to_list()))
    return (_numbers(series.str.len_bytes() if text else series.bin.size()), hasher.digest())


def _lazy(value: Any) -> Node:
    raise Refused(type(value), "it is a plan that has not run, and what it reads may change; pass frame.collect()")


def _expression(value: Any) -> Node:
    told = value.meta.serialize(format="json")
    if '"AnonymousFunction"' in told or "python" in told.lower():
        raise Refused(type(value), "it may hold a Python function, which polars does not show")
    return Node("polars expression", (told,))


register_type(pl.DataFrame, _frame)
register_type(pl.Series, _series)
register_type(pl.LazyFrame, _lazy, subclasses=True)
register_type(pl.Expr, _expression)
