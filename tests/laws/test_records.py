"""The laws of records: what comes back is what was recorded, of the same type, and a private copy; or nothing does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flowstone.exceptions import RecordError, SerializationError
from flowstone.filesystems import MemoryFileSystem
from flowstone.records import RecordInfo, open_head, open_payload, seal
from flowstone.results import Hit, ResultStore
from flowstone.signing import Keyring

RING = Keyring.from_text("law")
NOW = 1e9

texts = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=8)
    | st.complex_numbers(max_magnitude=9)
)
hashables = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashables | st.sets(hashables, max_size=3) | st.builds(bytearray, st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hashables, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)
jsonish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
arrays = st.builds(
    lambda kind, shape, fortran: np.asarray(
        np.arange(math.prod(shape)).reshape(shape).astype(kind), order="F" if fortran else "C"
    ),
    st.sampled_from(["i1", "<i8", ">i4", "f2", "f8", "c16", "M8[s]", "U5", "S3", "?"]),
    st.lists(st.integers(0, 7), max_size=3).map(tuple),
    st.booleans(),
)
infos = st.builds(
    RecordInfo,
    key=st.text(min_size=1, max_size=20),
    created=st.floats(0, 1e12),
    expires=st.none() | st.floats(0, 1e12),
    task_name=texts,
    task_module=texts,
    task_run_id=texts,
    flow_run_id=st.none() | texts,
    duration=st.floats(0, 1e9),
    parts=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
    policy=texts,
    state_name=texts,
    state_message=st.none() | texts,
    value_token=st.none() | texts,
    items=st.none() | st.integers(0, 10**9),
)


def same(one: Any, two: Any) -> bool:
    """Tell equal values of equal types at every depth, not-a-number and the sign of zero included."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    if isinstance(one, float):
        return (one == two and math.copysign(1, one) == math.copysign(1, two)) or (math.isnan(one) and math.isnan(two))
    if isinstance(one, complex):
        return same(one.real, two.real) and same(one.imag, two.imag)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return same(list(one.items()), list(two.items()))
    if isinstance(one, set | frozenset):
        return sorted(map(_told, one)) == sorted(map(_told, two))
    return bool(one == two)


def _told(value: object) -> str:
    """Say a hashable value and its types; sets inside it in no order."""
    if isinstance(value, tuple):
        return f"({','.join(map(_told, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(_told, value)))}}}"
    return f"{type(value).__name__} {value!r}"


def recorded(value: object, serializer: str) -> Any:
    """Record the value and look it up in a store that knows nothing of it: from the storage, then from memory."""
    storage = MemoryFileSystem()
    writer = ResultStore(storage, serializer=serializer, keyring=RING)
    writer.publish([writer.stage(RecordInfo(key="k", created=NOW), value)])
    reader = ResultStore(storage, keyring=RING)
    first, second = reader.lookup("k", NOW), reader.lookup("k", NOW)
    assert isinstance(first, Hit), first
    assert isinstance(second, Hit), second
    assert same(first.value, second.value)
    return second.value


@given(values)
def test_a_hit_returns_an_equal_value_of_the_same_type(value: object) -> None:
    assert same(recorded(value, "pickle"), value)


@given(values | jsonish | arrays)
def test_so_does_the_serializer_that_picks_by_type(value: object) -> None:
    assert same(recorded(value, "auto"), value)


@given(jsonish)
def test_json_accepts_all_plain_data_and_gives_it_back(value: object) -> None:
    assert same(recorded(value, "json"), value)


@given(values)
def test_json_gives_back_exactly_or_refuses(value: object) -> None:
    try:
        back = recorded(value, "compressed/json")
    except SerializationError:
        return
    assert same(back, value)


@given(arrays)
def test_npy_gives_arrays_back(array: Any) -> None:
    back = recorded(array, "npy")
    assert same(back, array)
    assert back.flags.f_contiguous == array.flags.f_contiguous


@given(infos, st.binary(max_size=200), st.lists(st.binary(max_size=200), max_size=4), st.booleans())
def test_a_record_says_and_holds_what_it_was_given(
    info: RecordInfo, main: bytes, buffers: list[bytes], split: bool
) -> None:
    sealed = seal(info, main, buffers, RING.writing, serializer="s", split=split)
    head = open_head(sealed.head, info.key, RING.reading)
    told = head.info

    assert told[:14] == info[:14]
    payload = b"".join(sealed.payload)
    data, offset = (payload, 0) if split else (sealed.head + payload, head.start)
    got_main, got_buffers = open_payload(head, data, offset)
    assert bytes(got_main) == main
    assert [bytes(buffer) for buffer in got_buffers] == buffers
    assert sealed.size == head.total_size


@given(st.binary(max_size=6000), st.lists(st.binary(max_size=3000), max_size=3), st.data())
def test_no_change_to_a_record_goes_unnoticed(main: bytes, buffers: list[bytes], data: st.DataObject) -> None:
    sealed = seal(RecordInfo(key="k", created=NOW), main, buffers, RING.writing, serializer="s")
    whole = b"".join((sealed.head, *sealed.payload))
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 40)))
    torn = whole[:start] + data.draw(st.binary(max_size=40)) + whole[stop:]
    try:
        head = open_head(torn, "k", RING.reading)
        open_payload(head, torn, head.start)
    except RecordError:
        return
    assert torn == whole


@given(st.binary(max_size=300))
def test_no_bytes_of_a_stranger_open(data: bytes) -> None:
    for attempt in (data, b"\x89FLS\r\n\x1a\n" + data):
        try:
            open_head(attempt, "k", RING.reading)
        except RecordError:
            continue
        raise AssertionError(attempt)


@given(values, st.integers(0, 2**32))
def test_a_group_of_staged_records_holds_the_values_as_they_were(value: object, salt: int) -> None:
    store = ResultStore(MemoryFileSystem(), keyring=RING)
    holder = [value, np.full(3000, salt)]
    staged = store.stage(RecordInfo(key="k", created=NOW), holder, hold=True)
    holder[1][:] = 0  # type: ignore[index]
    holder.clear()
    back: Any = staged.load()

    assert same(back[0], value)
    assert (back[1] == salt).all()
