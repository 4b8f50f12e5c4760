"""JSON, npy, Arrow, compression, auto, the registry and the collector's pause, beyond their common contract."""

from __future__ import annotations

import gc
import io
import json
import math
import os
import sys
import threading
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowstone.exceptions import ConfigurationError, SerializationError
from flowstone.serializers import (
    ArrowSerializer,
    AutoSerializer,
    CompressedJSONSerializer,
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    NpySerializer,
    Serializer,
    get_serializer,
    known_serializers,
    register_serializer,
    registry,
)
from flowstone.serializers._gc import gc_paused

JSON, NPY, ARROW, AUTO = JSONSerializer(), NpySerializer(), ArrowSerializer(), AutoSerializer()

# --- json --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ((1,), "value is a tuple"),
        ({"a": [1, (2,)]}, r"value\['a'\]\[1\] is a tuple"),
        ({"a": {1: 2}}, r"value\['a'\].keys\(\) 1 is a int"),
        ([{1, 2}], r"value\[0\] is a set"),
        ([np.float64(1)], r"value\[0\] is a numpy.float64"),
        ({"d": b""}, r"value\['d'\] is a bytes"),
    ],
)
def test_json_names_the_first_thing_it_would_change(value: object, where: str) -> None:
    with pytest.raises(SerializationError, match=where):
        JSON.dumps(value)


def test_json_is_json() -> None:
    assert json.loads(JSON.dumps({"a": [1, None, "ü"]})) == {"a": [1, None, "ü"]}


def test_json_reads_user_data_as_data() -> None:
    for value in ({"__class__": "datetime.date", "data": 1}, {"__exc_type__": "KeyError", "message": "k"}):
        assert JSON.loads(JSON.dumps(value)) == value


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2**4000])
def test_json_keeps_numbers_to_the_last_bit(value: float) -> None:
    assert JSON.loads(JSON.dumps(value)) == value


def test_json_refuses_what_it_cannot_end() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(SerializationError, match="nested too deeply"):
        JSON.dumps(value)
    with pytest.raises(SerializationError, match="digits"):
        JSON.dumps(10 ** (sys.get_int_max_str_digits() + 1))


# --- npy ---------------------------------------------------------------------------------------------------------


def test_npy_is_numpy_s_own_format() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(np.load(io.BytesIO(NPY.dumps(array))), array)


def test_npy_does_not_copy_the_array() -> None:
    array = np.arange(10_000)
    _, (buffer,) = NPY.dump_parts(array)
    assert np.shares_memory(np.frombuffer(buffer, array.dtype), array)


@pytest.mark.parametrize(
    "value",
    [
        [1],
        np.float64(1),
        np.array([None]),
        np.ma.array([1], mask=[True]),
        np.rec.array([(1,)], dtype=[("a", int)]),
        np.array([(1, 2)], np.dtype([("a", "i1"), ("b", "i4")], align=True)),
        np.array([1], np.dtype("i4", metadata={"a": 1})),
        np.array(["x"], np.dtypes.StringDType()),
    ],
)
def test_npy_refuses_what_would_come_back_as_something_else(value: object) -> None:
    with pytest.raises(SerializationError, match="npy"):
        NPY.dumps(value)


# --- arrow -------------------------------------------------------------------------------------------------------


def _with_attrs() -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": (1, 2)}
    return frame


EXACT = {
    "time zones": pd.DataFrame({"t": pd.date_range("2020", periods=3, tz="Europe/Zurich").as_unit("us")}),
    "labels": pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, "a")], names=["x", "y"])),
    "missing numbers": pd.DataFrame({"a": pd.array([1, None], "Int64"), "f": [math.nan, -0.0]}),
    "categories": pd.DataFrame({"c": pd.Categorical(["a"], ["b", "a"], ordered=True)}),
    "column names": pd.DataFrame({"a": [1]}).rename_axis("name", axis=1),
    "short numbers": pd.DataFrame({"a": np.arange(3, dtype="i1"), "b": np.arange(3, dtype="f4")}),
}
INEXACT = {
    "objects": pd.DataFrame({"o": [1, "a"]}),
    "text as objects": pd.DataFrame({"o": pd.Series(["a"], dtype=object)}),
    "frequency": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2020", periods=2)),
    "columns by number": pd.DataFrame([[1, 2]]),
    "attributes": _with_attrs(),
    "twice the same name": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "sparse": pd.DataFrame({"s": pd.arrays.SparseArray([0, 1])}),
    "complex": pd.DataFrame({"c": [1j]}),
    "flags": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    "polars objects": pl.DataFrame({"o": [object()]}),
    "a series": pd.Series([1]),
    "a subclass": type("Sub", (pd.DataFrame,), {})({"a": [1]}),
}


@pytest.mark.parametrize("name", EXACT)
def test_arrow_gives_frames_back_exactly(name: str) -> None:
    frame = EXACT[name]
    back: Any = ARROW.loads(ARROW.dumps(frame))
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_freq=True, check_column_type=True)
    assert [repr(kind) for kind in back.dtypes] == [repr(kind) for kind in frame.dtypes]
    if "f" in frame:
        assert math.copysign(1, back["f"][1]) == -1


@pytest.mark.parametrize("name", INEXACT)
def test_arrow_refuses_frames_it_would_change(name: str) -> None:
    with pytest.raises(SerializationError, match="arrow"):
        ARROW.dumps(INEXACT[name])


@pytest.mark.parametrize("name", sorted(INEXACT.keys() - {"polars objects"}))
def test_auto_writes_with_pickle_what_arrow_would_change(name: str) -> None:
    assert AUTO.dump_for_record(INEXACT[name]).serializer.name == "pickle"


class Opinion(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "flowstone.tests.opinion")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


def test_arrow_refuses_types_that_a_reader_may_not_know() -> None:
    column = pa.ExtensionArray.from_storage(Opinion(), pa.array([1]))
    nested = pa.StructArray.from_arrays([column], ["inner"])
    for values in (column, nested):
        with pytest.raises(SerializationError, match="extension type"):
            ARROW.dumps(pa.table({"a": values}))


def test_arrow_keeps_the_metadata_of_tables() -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({"k": "v"})
    assert ARROW.loads(ARROW.dumps(table)).equals(table, check_metadata=True)  # type: ignore[attr-defined]


# --- compression -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["zstd", "zlib", "bz2", "lzma"])
def test_every_library_compresses_and_every_reader_finds_out_which(library: str) -> None:
    value = {"a": np.zeros(100_000), "b": "x" * 1000}
    blob = CompressedSerializer("pickle", library).dumps(value)
    assert len(blob) < 20_000
    back: Any = CompressedPickleSerializer("zlib").loads(blob)
    assert back["b"] == value["b"]
    back["a"][0] = 1


def test_compressed_json_is_safe_and_compressed_pickle_is_not() -> None:
    assert CompressedJSONSerializer().safe
    assert not CompressedPickleSerializer().safe
    assert CompressedJSONSerializer().name == "compressed/json"
    assert CompressedSerializer().name == "compressed/pickle"


@pytest.mark.parametrize("library", ["zstd", "zlib", "bz2", "lzma"])
def test_a_blob_cut_short_is_an_error(library: str) -> None:
    blob = CompressedSerializer("pickle", library).dumps(os.urandom(10_000))
    for length in (3, 20, len(blob) // 2, len(blob) - 5):
        with pytest.raises(Exception):  # noqa: B017 - each library has its own
            CompressedSerializer().loads(blob[:length])


def test_an_unknown_library_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'zstd', 'zlib'"):
        CompressedSerializer("pickle", "rar")
    with pytest.raises(ConfigurationError, match="serializer object"):
        CompressedSerializer("jason")
    with pytest.raises(SerializationError, match="'rar'"):
        CompressedSerializer().loads(b"rar\nxyz")


def test_without_zstandard_it_is_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert CompressedSerializer().compressionlib == "zlib"
    monkeypatch.undo()
    assert CompressedSerializer().compressionlib == "zstd"


# --- auto --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"a": [1]}, "json"),
        ((1,), "pickle"),
        (np.arange(3), "npy"),
        (np.array([None]), "pickle"),
        (pd.DataFrame({"a": [1]}), "arrow"),
        (pl.DataFrame({"a": [1]}), "arrow"),
        (pa.table({"a": [1]}), "arrow"),
        ({1, 2}, "pickle"),
    ],
)
def test_auto_picks_by_type(value: object, name: str) -> None:
    assert AUTO.dump_for_record(value).serializer.name == name


def test_auto_reads_only_its_own() -> None:
    with pytest.raises(SerializationError):
        AUTO.loads(b"rot13\nabc")


# --- the registry ------------------------------------------------------------------------------------------------


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_known", dict(registry._known))


class Mine(Serializer):
    type = "mine"

    def dumps(self, obj: object) -> bytes:
        return str(obj).encode()

    def loads(self, blob: bytes) -> object:
        return blob.decode()


def test_one_s_own_serializer_can_be_registered(clean_registry: None) -> None:
    register_serializer(Mine())
    register_serializer(Mine())
    assert get_serializer("mine").loads(b"x") == "x"
    assert get_serializer("compressed/mine").loads(get_serializer("compressed/mine").dumps("abc")) == "abc"
    assert {"mine", "compressed/mine"} <= set(known_serializers())


@pytest.mark.parametrize("name", ["pickle", "json", "", "a/b", "compressed/x", "x" * 300])
def test_a_name_that_is_taken_or_odd_is_refused(clean_registry: None, name: str) -> None:
    kind = type("Odd", (Mine,), {"type": name})
    with pytest.raises(ConfigurationError):
        register_serializer(kind())


def test_another_class_cannot_take_a_registered_name(clean_registry: None) -> None:
    register_serializer(Mine())
    with pytest.raises(ConfigurationError):
        register_serializer(type("Other", (Mine,), {})())


@pytest.mark.parametrize(
    ("name", "hint"), [("pikle", "pickle"), ("compressed/jsn", "compressed/json"), ("Arrow", "arrow"), ("xyz", "Known")]
)
def test_a_misspelt_name_gets_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        get_serializer(name)


def test_what_is_no_name_is_an_error() -> None:
    for spec in (5, None, ["pickle"]):
        with pytest.raises(ConfigurationError):
            get_serializer(spec)  # type: ignore[arg-type]


def test_compression_does_not_nest_by_name() -> None:
    with pytest.raises(ConfigurationError):
        get_serializer("compressed/compressed/pickle")


# --- the collector -----------------------------------------------------------------------------------------------


def test_the_collector_rests_while_anybody_loads_and_then_goes_on() -> None:
    assert gc.isenabled()
    with gc_paused:
        assert not gc.isenabled()
        with gc_paused:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with gc_paused:
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError), gc_paused:
        raise ValueError
    assert gc.isenabled()


def test_the_last_of_several_threads_turns_it_on() -> None:
    inside, leave = threading.Barrier(3), threading.Event()

    def work() -> None:
        with gc_paused:
            inside.wait()
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert not gc.isenabled()
    leave.set()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_load_has_its_collector() -> None:
    with gc_paused:
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() and gc_paused._inside == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert gc.isenabled()
