"""pandas: frames by their columns in order, index, dtypes and values; blocks and their layout make no difference.

Two values that `pandas.testing.assert_frame_equal` (or its like) tells apart by default have different tokens. So do
some that it lets pass: `attrs` count, and None is not NaN. A RangeIndex is the Index of the same int64 values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype

from flowstone.hashing.arrays import plain_array
from flowstone.hashing.form import Items, Node, State, buffer_hasher
from flowstone.hashing.registry import register_type

_PIECE = 1 << 16  # rows of a RangeIndex made at a time


def _frame(value: Any) -> Node:
    columns = [_column(value, place) for place in range(value.shape[1])]
    labels = list(value.columns)
    parts = (value.columns, value.index, Items(columns, lambda place: f"[{labels[place]!r}]"), *_about(value))
    return Node("DataFrame", parts, (".columns", ".index", "", *_ABOUT), kind=_own_kind(value, pd.DataFrame))


def _column(value: Any, place: int) -> Any:
    """The array under a column; the private method spares making a Series."""
    get = getattr(value, "_get_column_array", None)
    return get(place) if get is not None else _array_of(value.iloc[:, place])


def _array_of(value: Any) -> Any:
    """The array under a Series or Index: a bare numpy array where there is one."""
    array = value.array
    return array.to_numpy() if type(array) is pd.arrays.NumpyExtensionArray else array


def _series(value: Any) -> Node:
    parts = (value.name, value.index, _array_of(value), *_about(value))
    return Node("Series", parts, (".name", ".index", "", *_ABOUT), kind=_own_kind(value, pd.Series))


_ABOUT = (".attrs", ".flags", "")


def _about(value: Any) -> tuple[object, ...]:
    """What frames and series carry beside their values; `_metadata` names the attributes of subclasses."""
    names = [name for name in value._metadata if name not in ("name", "_name")]
    own: dict[str, object] = {name: getattr(value, name, None) for name in names}
    return value.attrs, value.flags.allows_duplicate_labels, State(own)


def _own_kind(value: Any, base: type) -> type | None:
    return None if type(value) is base else type(value)


def _index(value: Any) -> Node:
    freq = getattr(value, "freqstr", None)
    return Node("Index", (value.name, freq, _array_of(value)), (".name", "", ""))


def _range_index(value: Any) -> Node:
    hasher = buffer_hasher()
    for start in range(0, len(value), _PIECE):
        part = range(value.start, value.stop, value.step)[start : start + _PIECE]
        hasher.update(np.arange(part.start, part.stop, part.step, dtype="<i8").data.cast("B"))
    array = _Told(Node("array", ("<i8", (len(value),), hasher.digest())))
    return Node("Index", (value.name, None, array), (".name", "", ""))


class _Told:
    """A value that is already unfolded."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node


def _multi_index(value: Any) -> Node:
    levels = [value.get_level_values(place) for place in range(value.nlevels)]
    return Node("MultiIndex", levels, lambda place: f".get_level_values({place})")


def _datetimes(value: Any) -> Node:
    return Node("datetime values", (str(value.dtype), value.asi8))


def _periods(value: Any) -> Node:
    return Node("period values", (str(value.dtype), value.asi8))


def _categorical(value: Any) -> Node:
    return Node("categorical", (value.codes, value.categories, bool(value.ordered)), ("", ".categories", ""))


def _nullable(value: Any) -> Node:
    """Integers, floats and booleans with a mask; what lies under the mask is accidental."""
    mask = value._mask
    data = value._data
    if mask.any():
        data = np.where(mask, data.dtype.type(0), data)
    return Node("masked values", (str(value.dtype), data, mask))


def _intervals(value: Any) -> Node:
    return Node("intervals", (value.closed, value.left, value.right), ("", ".left", ".right"))


def _sparse(value: Any) -> Node:
    places = value.sp_index.to_int_index().indices
    return Node("sparse values", (value.dtype, len(value), places, value.sp_values))


def _strings(value: Any) -> Node:
    return Node("string values", (value.dtype, value.to_numpy(dtype=object)))


def _arrow_values(value: Any) -> Node:
    return Node("arrow values", (value.dtype, value.__arrow_array__()))


def _extension(value: Any) -> Node:
    """Arrays of other packages: by dtype and elements, which is slow but never wrong."""
    return Node("extension values", (value.dtype, list(value)), kind=type(value))


def _dtype(value: Any) -> Node:
    if isinstance(value, pd.CategoricalDtype):
        return Node("CategoricalDtype", (value.categories, bool(value.ordered)), (".categories", ".ordered"))
    about = (str(value), str(getattr(value, "storage", "")), repr(getattr(value, "na_value", "")))
    return Node("extension dtype", (*about, type(value).__name__))


def _timestamp(value: Any) -> Node:
    return Node("Timestamp", (value.tzinfo, (_number(value), value.unit, value.fold)), (".tzinfo", ""))


def _timedelta(value: Any) -> Node:
    return Node("Timedelta", (_number(value), value.unit))


def _number(value: Any) -> int:
    return int(value.asm8.view("i8"))


def _period(value: Any) -> Node:
    return Node("Period", (value.ordinal, value.freqstr))


def _interval(value: Any) -> Node:
    return Node("Interval", (value.left, value.right, value.closed), (".left", ".right"))


def _missing(value: object) -> Node:
    return Node("singleton", (f"pandas.{value!r}",))


register_type(_Told, lambda value: value.node)
register_type(pd.DataFrame, _frame, subclasses=True)
register_type(pd.Series, _series, subclasses=True)
register_type(pd.Index, _index, subclasses=True)
register_type(pd.RangeIndex, _range_index)
register_type(pd.MultiIndex, _multi_index, subclasses=True)
register_type(pd.arrays.NumpyExtensionArray, lambda value: plain_array(value.to_numpy()))
register_type(pd.arrays.DatetimeArray, _datetimes)
register_type(pd.arrays.TimedeltaArray, _datetimes)
register_type(pd.arrays.PeriodArray, _periods)
register_type(pd.Categorical, _categorical)
register_type(pd.arrays.IntervalArray, _intervals)
register_type(pd.arrays.SparseArray, _sparse)
register_type(pd.arrays.StringArray, _strings, subclasses=True)
register_type(pd.arrays.ArrowStringArray, _arrow_values, subclasses=True)
for _name in ("IntegerArray", "FloatingArray", "BooleanArray"):
    register_type(getattr(pd.arrays, _name), _nullable)
if hasattr(pd.arrays, "ArrowExtensionArray"):
    register_type(pd.arrays.ArrowExtensionArray, _arrow_values)
register_type(ExtensionArray, _extension, subclasses=True)
register_type(ExtensionDtype, _dtype, subclasses=True)
register_type(pd.Timestamp, _timestamp)
register_type(pd.Timedelta, _timedelta)
register_type(pd.Period, _period)
register_type(pd.Interval, _interval)
register_type(type(pd.NaT), _missing)
register_type(type(pd.NA), _missing)
