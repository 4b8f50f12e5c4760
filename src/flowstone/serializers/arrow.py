"""Frames and tables as Arrow streams, exactly or not at all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from flowstone.exceptions import SerializationError
from flowstone.serializers.base import Buffer, Serializer

_LABELS: Final = frozenset({str, bytes, type(None)})


class ArrowSerializer(Serializer):
    """Writes pandas and polars DataFrames, pyarrow Tables and RecordBatches as Arrow IPC; needs pyarrow.

    Arrow cannot say all that a frame can hold. A frame that would not come back exactly as it was, with its index,
    types, categories and attributes, is refused. Reading cannot execute code.
    """

    type = "arrow"
    safe = True

    def dumps(self, obj: object) -> bytes:
        main, buffers = self.dump_parts(obj)
        return b"".join((main, b"\n", *buffers))

    def loads(self, blob: bytes) -> object:
        kind, _, stream = blob.partition(b"\n")
        return self.load_parts(kind, [stream])

    def dump_parts(self, obj: object) -> tuple[Buffer, Sequence[memoryview]]:
        kind = kind_of(obj)
        if kind is None:
            raise _refused(obj, "it writes pandas and polars DataFrames, pyarrow Tables and RecordBatches")
        return kind.encode(), [memoryview(_stream(_table_of(kind, obj)))]

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        import pyarrow as pa

        kind = bytes(main).decode()
        with pa.ipc.open_stream(pa.py_buffer(buffers[0])) as reader:
            if kind == "pyarrow.RecordBatch":
                return reader.read_next_batch()
            table = reader.read_all()
        if kind == "pandas.DataFrame":
            return table.to_pandas()
        if kind == "polars.DataFrame":
            import polars

            return polars.from_arrow(table)
        return table


def kind_of(obj: object) -> str | None:
    """Return which of the known kinds of frame `obj` is, without importing any library; subclasses are none."""
    for module_name, class_names in (
        ("pandas", ("DataFrame",)),
        ("polars", ("DataFrame",)),
        ("pyarrow", ("Table", "RecordBatch")),
    ):
        module = sys.modules.get(module_name)
        for class_name in class_names if module is not None else ():
            if type(obj) is getattr(module, class_name, None):
                return f"{module_name}.{class_name}"
    return None


def _table_of(kind: str, obj: Any) -> Any:
    """Return `obj` as a table or batch; raises SerializationError if it would not come back as it was."""
    if kind == "pandas.DataFrame":
        return _from_pandas(obj)
    if kind == "polars.DataFrame":
        return _from_polars(obj)
    for field in obj.schema:
        _check_type(obj, field.name, field.type)
    return obj


def _stream(table: Any) -> Any:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return sink.getvalue()


def _check_type(obj: object, name: str, kind: Any) -> None:
    """Refuse types of other packages: a reader that does not know them would get what is inside instead."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType) and not type(kind).__module__.startswith("pyarrow"):
        raise _refused(obj, f"column {name!r} has the extension type {kind}")
    if isinstance(kind, pa.DictionaryType):
        _check_type(obj, name, kind.value_type)
    for index in range(kind.num_fields):
        _check_type(obj, name, kind.field(index).type)


def _from_polars(frame: Any) -> Any:
    import polars

    try:
        table = frame.to_arrow()
    except Exception as error:
        raise _refused(frame, f"Arrow cannot hold it: {error}") from error
    again: Any = polars.from_arrow(table.slice(0, 0))
    if again.schema != frame.schema or table.num_rows != frame.height:
        raise _refused(frame, f"{frame.schema} would come back as {again.schema}")
    return table


def _from_pandas(frame: Any) -> Any:
    import pyarrow as pa

    for name, column in frame.items():
        if column.dtype == object and not _LABELS.issuperset(map(type, column)):
            raise _refused(frame, f"column {name!r} holds Python objects")
    try:
        table = pa.Table.from_pandas(frame)
        again = table.to_pandas()
    except Exception as error:
        raise _refused(frame, f"Arrow cannot hold it: {error}") from error
    difference = _difference(frame, again)
    if difference:
        raise _refused(frame, f"its {difference} would not come back as they were")
    return table


def _difference(frame: Any, again: Any) -> str:
    """Return what differs between two pandas frames, more strictly than their own `equals`."""
    if not _same_index(frame.index, again.index):
        return "row labels"
    if not _same_index(frame.columns, again.columns):
        return "column labels"
    pairs = [(frame.iloc[:, at], again.iloc[:, at]) for at in range(frame.shape[1])]
    if not all(_same_type(one.dtype, two.dtype) for one, two in pairs):
        return "column types"
    if not frame.equals(again):
        return "values"
    if frame.attrs != again.attrs or frame.flags != again.flags:
        return "attributes"
    return ""


def _same_type(one: Any, two: Any) -> bool:
    if one != two or type(one) is not type(two):
        return False
    categories = getattr(one, "categories", None)
    return categories is None or _same_index(categories, two.categories)


def _same_index(one: Any, two: Any) -> bool:
    return (
        type(one) is type(two)
        and list(one.names) == list(two.names)
        and one.equals(two)
        and _same_index_types(one, two)
        and getattr(one, "freq", None) == getattr(two, "freq", None)
    )


def _same_index_types(one: Any, two: Any) -> bool:
    levels = getattr(one, "levels", None)
    if levels is not None:
        return all(_same_type(a.dtype, b.dtype) for a, b in zip(levels, two.levels)) and _same_labels(one, two)
    return _same_type(one.dtype, two.dtype) and (one.dtype != object or _same_labels(one, two))


def _same_labels(one: Any, two: Any) -> bool:
    return all(type(a) is type(b) for a, b in zip(one, two))


def _refused(obj: object, why: str) -> SerializationError:
    kind = type(obj)
    return SerializationError(
        f"A {kind.__module__}.{kind.__qualname__} cannot be written with the serializer 'arrow': {why}; use 'pickle'."
    )
