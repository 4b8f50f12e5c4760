"""Pickle: large memory beside the stream, refusals that name the place, nothing that comes back as something else."""

from __future__ import annotations

import io
import pickle
import socket
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowstone.exceptions import ConfigurationError, SerializationError
from flowstone.results import ResultStore
from flowstone.serializers import PickleSerializer
from flowstone.signing import Keyring

S = PickleSerializer()


def again(value: object) -> Any:
    main, buffers = S.dump_parts(value)
    return S.load_parts(main, [bytearray(buffer) for buffer in buffers])


def test_large_arrays_are_not_copied_into_the_stream() -> None:
    array = np.arange(100_000)
    main, buffers = S.dump_parts({"a": array, "b": [array]})

    assert len(main) < 1000
    assert len(buffers) == 1
    assert np.shares_memory(np.frombuffer(buffers[0], array.dtype), array)


def test_small_arrays_stay_in_the_stream() -> None:
    assert S.dump_parts([np.arange(10)] * 5)[1] == []


@pytest.mark.parametrize(
    "array",
    [
        np.arange(100_000)[::2],
        np.asfortranarray(np.arange(90_000).reshape(300, 300)),
        np.arange(90_000).reshape(300, 300)[:, :200],
        np.arange(100_000).astype(object),
    ],
)
def test_arrays_of_any_layout_come_back(array: Any) -> None:
    assert np.array_equal(again(array), array)
    assert again(array).dtype == array.dtype


def test_a_read_only_array_stays_one_and_others_are_writable() -> None:
    fixed = np.arange(10_000)
    fixed.flags.writeable = False

    assert not again(fixed).flags.writeable
    assert again(fixed.copy()).flags.writeable


def test_shared_parts_stay_shared() -> None:
    array, part = np.arange(10_000), [1]
    value = again([array, array, part, part])
    assert value[0] is value[1]
    assert value[2] is value[3]


def test_a_value_that_holds_itself_comes_back() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert again(value)[1][1][0] == 1


def test_frames_go_beside_the_stream() -> None:
    frame = pd.DataFrame(np.random.default_rng(1).random((10_000, 10)))
    main, _ = S.dump_parts(frame)
    assert len(main) < 3000
    pd.testing.assert_frame_equal(again(frame), frame)


@pytest.mark.parametrize("wrap", [lambda frame: frame, lambda frame: [1, frame], lambda frame: {"k": frame}])
def test_polars_frames_go_beside_the_stream_through_arrow(wrap: Any) -> None:
    frame = pl.DataFrame(
        {"a": range(10_000), "s": ["x"] * 10_000, "c": pl.Series(["u"] * 10_000, dtype=pl.Categorical)}
    )
    main, buffers = S.dump_parts(wrap(frame))
    assert len(main) < 3000
    assert sum(buffer.nbytes for buffer in buffers) > 80_000
    found = again(wrap(frame))
    back = found if isinstance(found, pl.DataFrame) else found[1] if isinstance(found, list) else found["k"]
    assert back.equals(frame)
    assert back.schema == frame.schema


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [1, 2, 3]}).head(0),
        pl.DataFrame(),
        pl.DataFrame({"e": pl.Series(["a"], dtype=pl.Enum(["b", "a"]))}),
        pl.DataFrame({"d": pl.Series([1], dtype=pl.Decimal(10, 2))}),
        pl.DataFrame({"t": pl.Series([1], dtype=pl.Time), "n": [None]}),
        pl.DataFrame({"s": [{"a": 1, "b": [1.5]}]}),
        pl.DataFrame({"i": pl.Series([2**100], dtype=pl.Int128)}),
        pl.DataFrame({"x": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2))}),
    ],
)
def test_polars_frames_of_all_types_come_back(frame: pl.DataFrame) -> None:
    assert again(frame).equals(frame)
    assert again(frame).schema == frame.schema
    for column in frame.get_columns():
        assert again(column).equals(column)
        assert again(column).dtype == column.dtype


def test_a_slice_of_a_polars_frame_does_not_drag_the_whole_along() -> None:
    frame = pl.DataFrame({"a": range(1_000_000)}).slice(5, 3)
    main, buffers = S.dump_parts(frame)
    assert len(main) + sum(buffer.nbytes for buffer in buffers) < 10_000
    assert again(frame).equals(frame)


def test_arrow_tables_go_beside_the_stream() -> None:
    table = pa.table({"a": range(10_000)})
    assert len(S.dump_parts(table)[0]) < 3000
    assert again(table).equals(table)


# --- refusals ----------------------------------------------------------------------------------------------------


def _generator() -> Any:
    yield 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


class Holder:
    def __init__(self, content: object) -> None:
        self.content = content


NEVER = {
    "generator": _generator,
    "async generator": _async_generator,
    "lock": threading.Lock,
    "open file": lambda: open("/dev/null"),  # noqa: SIM115
    "binary file": lambda: open("/dev/null", "rb"),  # noqa: SIM115
    "memoryview": lambda: memoryview(b"x"),
    "socket": lambda: socket.socket(),
    "weakref": lambda: weakref.ref(Holder),
    "frame": sys._getframe,
    "keyring": lambda: Keyring.from_text("a"),
    "store": lambda: ResultStore("memory://x"),
}


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("with_lambda", [False, True])
def test_what_cannot_outlive_the_process_is_refused(name: str, with_lambda: bool) -> None:
    value = NEVER[name]()
    with pytest.raises(SerializationError, match=r"cannot be written with the serializer 'pickle'"):
        S.dumps([value, (lambda: 1) if with_lambda else None])
    if hasattr(value, "close"):
        value.close()


def test_a_module_is_not_a_value() -> None:
    with pytest.raises(SerializationError, match="a module is code"):
        S.dumps(sys)


def test_the_secrets_of_a_keyring_never_get_into_a_record() -> None:
    ring = Keyring.from_text("hush")
    for value in (ring, [ring], {"a": Holder(ring)}, (lambda: ring), ResultStore("memory://x", keyring=ring)):
        with pytest.raises(SerializationError, match="secrets"):
            S.dumps(value)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([1, {"a": (2, threading.Lock())}], r"value\[1\]\['a'\]\[1\] \(_thread.lock\)"),
        (Holder([threading.Lock()]), r"value.content\[0\] \(_thread.lock\)"),
        ({threading.Lock(): 1}, r"value.keys\(\)\[0\] \(_thread.lock\)"),
        (threading.Lock(), r"^_thread.lock"),
        ([lambda: 1, threading.Lock()], r"value\[1\]"),
        ({"x" * 100: threading.Lock()}, r"x\.\.\.\]"),
    ],
)
def test_a_refusal_says_where(value: object, where: str) -> None:
    with pytest.raises(SerializationError, match=where):
        S.dumps(value)


def test_a_refusal_of_a_value_that_holds_itself_ends() -> None:
    value: list[Any] = [threading.Lock()]
    value.append(value)
    with pytest.raises(SerializationError):
        S.dumps(value)


class Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("I will not")


def test_an_error_of_the_user_s_own_is_told() -> None:
    with pytest.raises(SerializationError, match="RuntimeError: I will not"):
        S.dumps([Stubborn()])


def test_a_value_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SerializationError):
        S.dumps(value)
    while value:
        value = value[0]  # taken apart here, since freeing it at once overflows the stack of old interpreters


def test_in_memory_files_are_values() -> None:
    assert again(io.BytesIO(b"abc")).getvalue() == b"abc"
    assert again([lambda: 1, io.StringIO("abc")])[1].getvalue() == "abc"


# --- by value ----------------------------------------------------------------------------------------------------


def test_lambdas_and_closures_come_back() -> None:
    factor = 3
    assert again(lambda x: x * factor)(2) == 6
    array = np.arange(10_000)
    found = again([lambda: 1, array])
    assert found[0]() == 1
    assert np.array_equal(found[1], array)


def test_buffers_of_the_first_try_are_not_written_twice() -> None:
    array = np.arange(10_000)
    assert len(S.dump_parts([array, lambda: 1])[1]) == 1


def test_local_classes_keep_their_identity_in_this_process() -> None:
    class Local:
        pass

    assert type(again(Local())) is Local


def test_without_cloudpickle_lambdas_are_refused() -> None:
    with pytest.raises(SerializationError, match="lambda"):
        PickleSerializer(picklelib="pickle").dumps([lambda: 1])
    with pytest.raises(ConfigurationError, match="picklelib"):
        PickleSerializer(picklelib="dill")


def test_text_that_looks_like_an_appendix_is_text() -> None:
    for value in (
        "__main__",
        b"__main__",
        b"FLSmain\x01",
        "FLSmain\x01",
        ["__mp_main__"],
        np.frombuffer(b"FLSmain\x01"),
    ):
        assert again(value) == value
        assert S.loads(S.dumps(value)) == value


def test_what_it_writes_is_plain_pickle_for_plain_values() -> None:
    assert pickle.loads(S.dumps({"a": [1]})) == {"a": [1]}
