"""pyarrow: tables and arrays by schema and values; chunks, slices and what lies under a null make no difference."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, so checkers do not see them
from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from flowstone.hashing.form import Node, Refused, buffer_digest, buffer_hasher
from flowstone.hashing.registry import register_type

_ROWS = 1 << 20  # at a time, so that a copy is never of a whole column


def _table(value: Any) -> Node:
    return Node("arrow table", (value.schema, value.num_rows, *value.columns), lambda place: _place(value, place))


def _place(value: Any, place: int) -> str:
    return f"[{value.schema.names[place - 2]!r}]" if place >= 2 else ""


def _batch(value: Any) -> Node:
    return Node("arrow batch", (value.schema, value.num_rows, *value.columns), lambda place: _place(value, place))


def _array(value: Any) -> Node:
    return _values("arrow array", value, [value])


def _chunked(value: Any) -> Node:
    return _values("arrow chunks", value, value.chunks)


def _values(label: str, value: Any, chunks: list[Any]) -> Node:
    if pa.types.is_dictionary(value.type):
        whole = value.unify_dictionaries() if label == "arrow chunks" else value
        chunks = whole.chunks if label == "arrow chunks" else [whole]
        dictionary = chunks[0].dictionary if chunks else None
        stream = _Stream(value.type.index_type)
        stream.add_all([chunk.indices for chunk in chunks])
        return Node(label, (value.type, len(value), stream.told(), dictionary))
    stream = _Stream(value.type)
    stream.add_all(chunks)
    return Node(label, (value.type, len(value), stream.told()))


class _Stream:
    """The buffers of a column in their canonical form, digested piece by piece.

    Places of nulls are numbers of rows; all else is told of the values that are not null, so what lies under a null
    does not count. Strings and lists are told by their lengths and their contents laid side by side.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.rows = 0
        self.nulls = buffer_hasher()
        self.values = buffer_hasher()
        self.lengths = buffer_hasher()
        self.below = [_Stream(part) for part in _parts(kind)]

    def told(self) -> object:
        digests = [hasher.digest() for hasher in (self.nulls, self.lengths, self.values)]
        return (self.rows, digests, [stream.told() for stream in self.below])

    def add_all(self, chunks: list[Any]) -> None:
        for chunk in chunks:
            for start in range(0, len(chunk), _ROWS):
                self.add(chunk.slice(start, _ROWS))

    def add(self, array: Any) -> None:
        if array.null_count and not pa.types.is_null(self.kind):
            places = pc.indices_nonzero(pc.is_null(array)).cast(pa.uint64())
            self.nulls.update(_raw(pc.add(places, pa.scalar(self.rows, pa.uint64())), 8))
            self.rows += len(array)
            array = array.drop_null()
        else:
            self.rows += len(array)
        if len(array):
            self.write(array)

    def write(self, array: Any) -> None:
        """Add values none of which is null."""
        kind, types = self.kind, pa.types
        if types.is_boolean(kind):
            self.values.update(_raw(array.cast(pa.uint8()), 1))
        elif types.is_string(kind) or types.is_binary(kind):
            self.write_text(array, "i")
        elif types.is_large_string(kind) or types.is_large_binary(kind):
            self.write_text(array, "q")
        elif _is_view(kind):
            self.write_text(_contiguous(array), "q")
        elif types.is_struct(kind):
            for stream, part in zip(self.below, array.flatten()):
                stream.add(part)
        elif types.is_map(kind):
            self.write_map(array)
        elif _is_list(kind):
            lengths = pc.list_value_length(array).cast(pa.int64())
            self.lengths.update(_raw(lengths, 8))
            self.below[0].add(array.flatten())
        elif isinstance(kind, pa.BaseExtensionType):
            self.below[0].add(array.storage)
        elif not types.is_null(kind):
            self.values.update(_raw(array, kind.bit_width // 8))

    def write_text(self, array: Any, code: Literal["i", "q"]) -> None:
        offsets = memoryview(array.buffers()[1]).cast("B").cast(code)
        first, last = offsets[array.offset], offsets[array.offset + len(array)]
        self.lengths.update(_raw(pc.binary_length(array).cast(pa.int64()), 8))
        if last > first:
            self.values.update(memoryview(array.buffers()[2])[first:last])

    def write_map(self, array: Any) -> None:
        offsets = memoryview(array.buffers()[1]).cast("B").cast("i")
        first, last = offsets[array.offset], offsets[array.offset + len(array)]
        bounds = pa.Array.from_buffers(pa.int32(), len(array) + 1, [None, array.buffers()[1]], offset=array.offset)
        self.lengths.update(_raw(pc.subtract(bounds.slice(1), bounds.slice(0, len(array))).cast(pa.int64()), 8))
        for stream, part in zip(self.below, (array.keys, array.items)):
            stream.add(part if len(part) == last - first else part.slice(first, last - first))


def _raw(array: Any, width: int) -> memoryview:
    """The bytes of an array of fixed width without nulls."""
    data = array.buffers()[1]
    if data is None:
        return memoryview(b"")
    return memoryview(data)[array.offset * width : (array.offset + len(array)) * width]


def _contiguous(array: Any) -> Any:
    """Strings whose bytes lie anywhere, laid side by side."""
    kind = pa.large_string() if "string" in str(array.type) else pa.large_binary()
    try:
        return array.cast(kind)
    except pa.ArrowNotImplementedError:  # before pyarrow 17
        return pa.array(array.to_pylist(), kind)


def _is_view(kind: Any) -> bool:
    return str(kind) in ("string_view", "binary_view")


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _parts(kind: Any) -> list[Any]:
    """The types of what a nested type holds; refuses those whose buffers have more than one form."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return [kind.storage_type]
    if types.is_struct(kind):
        return [field.type for field in kind]
    if types.is_map(kind):
        return [kind.key_type, kind.item_type]
    if _is_list(kind):
        return [kind.value_type]
    if types.is_union(kind) or types.is_run_end_encoded(kind) or types.is_dictionary(kind) or "list_view" in str(kind):
        raise Refused(
            pa.Array, f"values of Arrow type {kind} have no canonical form inside other values; cast it first"
        )
    return []


def _schema(value: Any) -> Node:
    return Node("arrow schema", (list(value), _sorted(value.metadata)))


def _arrow_field(value: Any) -> Node:
    return Node("arrow field", (value.name, value.type, value.nullable, _sorted(value.metadata)))


def _sorted(metadata: Any) -> object:
    return sorted(metadata.items()) if metadata else []


def _type(value: Any) -> Node:
    return Node("arrow type", (str(value), [value.field(place) for place in range(value.num_fields)]))


def _scalar(value: Any) -> Node:
    return Node("arrow scalar", (pa.repeat(value, 1),))


def _buffer(value: Any) -> Node:
    return Node("arrow buffer", (value.size, buffer_digest(memoryview(value))))


register_type(pa.Table, _table)
register_type(pa.RecordBatch, _batch)
register_type(pa.ChunkedArray, _chunked)
register_type(pa.Array, _array, subclasses=True)
register_type(pa.Scalar, _scalar, subclasses=True)
register_type(pa.Schema, _schema)
register_type(pa.Field, _arrow_field)
register_type(pa.DataType, _type, subclasses=True)
register_type(pa.Buffer, _buffer, subclasses=True)
