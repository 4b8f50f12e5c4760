"""The contract of serializers, on every one there is: exactly what was written comes back, or nothing is written."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import pickle
import uuid
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowstone.exceptions import SerializationError
from flowstone.serializers import Serializer, get_serializer, known_serializers

ALL = [name for name in known_serializers() if "/" not in name]
COMPRESSED = [f"compressed/{name}" for name in ALL]


class Colour(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int


@dataclasses.dataclass
class Box:
    content: object


class Text(str):
    pass


FRAME = pd.DataFrame({"n": [1, 2], "f": [1.5, math.nan], "s": ["a", None]})
SAMPLES: list[object] = [
    None,
    True,
    0,
    -(10**30),
    1.5,
    -0.0,
    math.inf,
    "",
    "ü\ud800\0",
    b"\0\xff",
    [],
    {},
    [1, [2.0, "x", None, True]],
    {"a": {"b": [1]}, "__class__": "datetime.date", "data": [2020, 1, 1]},
    {"__exc_type__": "KeyError", "message": "m"},
    {"$type": "x", "py/object": "y"},
    (1, 2),
    [(1,)],
    {1: "a"},
    {"a": 1, 2: "b"},
    {None: 1},
    {1, 2},
    frozenset({1}),
    bytearray(b"x"),
    1j,
    range(3),
    Ellipsis,
    int,
    Colour.RED,
    Number.ONE,
    Point(1),
    Box([1]),
    Text("t"),
    collections.OrderedDict(a=1),
    collections.defaultdict(list, a=[1]),
    collections.deque([1], 3),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
    pathlib.PurePosixPath("a/b"),
    KeyError("k"),
    np.float64(1.5),
    np.bool_(True),
    np.array(3),
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(20)[::3],
    np.zeros((0, 3), "f4"),
    np.array(["a", "bc"]),
    np.array([b"a"]),
    np.array(["2020-01-01", "NaT"], "M8[ns]"),
    np.array([(1, 2.0)], [("a", "i4"), ("b", ">f8")]),
    np.array([[1, "a"]], object),
    np.arange(2000.0),
    FRAME,
    FRAME.set_index("n"),
    pd.DataFrame({"o": [[1], (2,)]}),
    pd.DataFrame({"c": pd.Categorical(["a", "b"], ["b", "a"], ordered=True)}),
    pd.Series([1, 2], name="s"),
    pl.DataFrame({"a": [1, None], "s": ["x", "y"], "l": [[1], []]}),
    pl.Series("s", [1, 2]),
    pa.table({"a": [1, 2]}),
    pa.record_batch({"a": [1, 2]}),
]


def fingerprint(value: Any) -> object:
    """Say everything about `value` that has to come back, types at every depth included."""
    kind = type(value)
    if isinstance(value, np.ndarray):
        order = (value.flags.f_contiguous, value.flags.c_contiguous) if value.ndim > 1 else ()
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        return kind, value.dtype.str, value.dtype.descr, value.shape, order, fingerprint(content)
    if isinstance(value, pd.DataFrame | pd.Series):
        index = (type(value.index), value.index.dtype, list(value.index), value.index.names)
        columns = list(value.items()) if isinstance(value, pd.DataFrame) else [(value.name, value)]
        return kind, index, [(n, repr(c.dtype), c.to_list().__repr__()) for n, c in columns], value.attrs
    if isinstance(value, pl.DataFrame):
        return kind, value.schema, value.rows()
    if isinstance(value, pl.Series):
        return kind, value.dtype, value.name, value.to_list()
    if isinstance(value, pa.Table | pa.RecordBatch):
        return kind, value.schema, value.to_pylist()
    if isinstance(value, dict):
        return kind, [(fingerprint(key), fingerprint(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | collections.deque):
        return kind, [fingerprint(item) for item in value]
    if isinstance(value, Box):
        return kind, fingerprint(value.content)
    if isinstance(value, BaseException):
        return kind, fingerprint(value.args)
    return kind, repr(value)


def dumped(serializer: Serializer, value: object) -> bytes | None:
    try:
        return serializer.dumps(value)
    except SerializationError:
        return None


@pytest.mark.parametrize("name", [*ALL, *COMPRESSED])
@pytest.mark.parametrize("index", range(len(SAMPLES)))
def test_a_value_comes_back_exactly_or_is_refused(name: str, index: int) -> None:
    serializer, value = get_serializer(name), SAMPLES[index]
    blob = dumped(serializer, value)
    if blob is not None:
        assert isinstance(blob, bytes)
        assert fingerprint(serializer.loads(blob)) == fingerprint(value)


@pytest.mark.parametrize("name", [*ALL, *COMPRESSED])
@pytest.mark.parametrize("index", range(len(SAMPLES)))
def test_parts_say_the_same_as_one_blob(name: str, index: int) -> None:
    serializer, value = get_serializer(name), SAMPLES[index]
    if dumped(serializer, value) is None:
        with pytest.raises(SerializationError):
            serializer.dump_for_record(value)
        return
    reader, main, buffers = serializer.dump_for_record(value)
    assert get_serializer(reader.name).name == reader.name
    private = [bytearray(buffer) for buffer in buffers]
    assert fingerprint(reader.load_parts(bytes(main), private)) == fingerprint(value)
    assert fingerprint(reader.load_parts(memoryview(bytes(main)), private)) == fingerprint(value)


@pytest.mark.parametrize("name", [*ALL, *COMPRESSED])
def test_every_serializer_writes_something_of_the_samples(name: str) -> None:
    assert any(dumped(get_serializer(name), value) is not None for value in SAMPLES)


@pytest.mark.parametrize("name", ["pickle", "auto", "compressed/pickle", "compressed/auto"])
def test_what_can_be_pickled_is_never_refused(name: str) -> None:
    for value in SAMPLES:
        assert dumped(get_serializer(name), value) is not None, value


@pytest.mark.parametrize("name", [*ALL, *COMPRESSED])
def test_a_blob_is_a_snapshot(name: str) -> None:
    serializer = get_serializer(name)
    for make in (lambda: [[1]], lambda: np.arange(3), lambda: FRAME.copy()):
        value: Any = make()
        blob = dumped(serializer, value)
        if blob is None:
            continue
        if isinstance(value, list):
            value[0].append(2)
        elif isinstance(value, np.ndarray):
            value[:] = 9
        else:
            value.iloc[:, 0] = 9
        assert fingerprint(serializer.loads(blob)) == fingerprint(make())


@pytest.mark.parametrize("name", [*ALL, *COMPRESSED])
def test_each_load_gives_a_value_of_its_own(name: str) -> None:
    serializer = get_serializer(name)
    for value in ([[1]], np.arange(3), FRAME):
        blob = dumped(serializer, value)
        if blob is None:
            continue
        first: Any = serializer.loads(blob)
        if isinstance(first, list):
            first[0].append(2)
        elif isinstance(first, np.ndarray):
            assert first.flags.writeable
            first[:] = 9
        else:
            first.iloc[:, 0] = 9
        assert fingerprint(serializer.loads(blob)) == fingerprint(value)


class Bomb:
    exploded = False

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    Bomb.exploded = True


SAFE = [name for name in [*ALL, *COMPRESSED] if get_serializer(name).safe]


def test_json_arrow_and_npy_are_safe_and_pickle_is_not() -> None:
    assert {"json", "arrow", "npy", "compressed/json"} <= set(SAFE)
    assert not {"pickle", "auto", "compressed/pickle"} & set(SAFE)


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_serializer_executes_nothing(name: str) -> None:
    serializer = get_serializer(name)
    bomb = pickle.dumps(Bomb())
    objects = np.lib.format
    import io

    file = io.BytesIO()
    objects.write_array(file, np.array([Bomb()], object), allow_pickle=True)
    for blob in (bomb, file.getvalue(), b"zlib\n" + bomb, b"pandas.DataFrame\n" + bomb):
        try:
            serializer.load_parts(blob, [bytearray(bomb)])
            serializer.loads(blob)
        except Exception:
            pass
    assert not Bomb.exploded
