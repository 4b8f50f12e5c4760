"""polars frames in a pickle: as Arrow buffers beside the stream, since polars itself has none to give."""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from typing import Any, Final

_LOOK_AT: Final = 64
_Reducers = dict[type, Callable[[Any], Any]]


def polars_reducers(obj: object) -> _Reducers | None:
    """Return how to pickle polars frames if `obj` is one, or a container that holds one near its beginning."""
    polars = sys.modules["polars"]
    try:
        import pyarrow  # noqa: F401 - it does the work, else polars' own pickle does
    except ImportError:
        return None
    kinds = (polars.DataFrame, polars.Series)
    if not any(isinstance(part, kinds) for part in _near(obj)):
        return None
    return {**copyreg.dispatch_table, polars.DataFrame: _reduce_frame, polars.Series: _reduce_series}


def _near(obj: object) -> list[object]:
    if isinstance(obj, list | tuple):
        return list(obj[:_LOOK_AT])
    if isinstance(obj, dict):
        return [value for _, value in zip(range(_LOOK_AT), obj.values())]
    return [obj]


def _reduce_frame(frame: Any) -> Any:
    """Write the frame as an Arrow table, unless that loses something or drags the whole of a sliced frame along."""
    import polars

    table = frame.to_arrow()
    again: Any = polars.from_arrow(table.slice(0, 0))
    same_types = again.schema == frame.schema
    wasteful = table.get_total_buffer_size() > 1.1 * table.nbytes + 65536
    if not same_types or wasteful or table.num_rows != frame.height:
        return frame.__reduce_ex__(5)
    return frame_from_arrow, (table,)


def _reduce_series(series: Any) -> Any:
    reduced = _reduce_frame(series.to_frame())
    return (series_from_arrow, reduced[1]) if reduced[0] is frame_from_arrow else series.__reduce_ex__(5)


def frame_from_arrow(table: Any) -> Any:
    """Return the table as a polars frame over the same memory."""
    import polars

    return polars.from_arrow(table)


def series_from_arrow(table: Any) -> Any:
    """Return the only column of the table as a polars series over the same memory."""
    return frame_from_arrow(table).to_series()
