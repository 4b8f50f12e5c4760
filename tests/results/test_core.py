"""Looking up gives the value that was recorded, private to the caller, or a miss with its reason; it never raises."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowstone.exceptions import KeyPathError, MissingResult, RecordError, SerializationError, StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.records import MissReason, RecordInfo
from flowstone.results import Hit, Miss
from flowstone.results.found import NOT_LOADED
from flowstone.serializers import Serializer, register_serializer
from flowstone.signing import Keyring

NOW = 1_000_000.0


def missed(found: Hit | Miss) -> MissReason:
    assert isinstance(found, Miss), found
    return found.reason


@pytest.mark.parametrize("value", [None, 0, "text", b"\0", (1, ("a", None)), {"a": [1, 2]}, [], float("inf")])
def test_a_hit_gives_an_equal_value_of_the_same_type(bench: Any, value: object) -> None:
    bench.write(value)
    for _ in range(3):
        found = bench.find()
        assert isinstance(found, Hit)
        assert found.value == value
        assert type(found.value) is type(value)


def test_nothing_recorded_is_absent(bench: Any) -> None:
    assert missed(bench.find()) is MissReason.ABSENT
    assert missed(bench.find(load=False)) is MissReason.ABSENT


@pytest.mark.parametrize("size", [10, 1000, 400_000])
def test_no_caller_sees_what_another_did_to_his_value(bench: Any, size: int) -> None:
    original = {"list": [1, 2], "array": np.arange(size)}
    bench.write(original)
    original["list"].append("mine")
    original["array"][0] = 99
    for _ in range(3):
        value = bench.value()
        assert value["list"] == [1, 2]
        assert value["array"][0] == 0
        value["list"].append("yours")
        value["array"][:] = -1


def test_a_hit_loads_anew_for_each_call(bench: Any) -> None:
    bench.write(np.arange(400_000))
    found = bench.find()
    found.value[:] = -1
    first, second = found.load(), found.load()
    first[:] = -2

    assert second[5] == 5


def test_a_staged_record_does_not_follow_its_value(bench: Any) -> None:
    value = {"array": np.zeros(50_000), "list": [1]}
    staged = bench.store.stage(RecordInfo(key="k", created=NOW), value, hold=True)
    value["array"][:] = 7
    value["list"].append(2)
    seen: Any = staged.load()
    seen["array"][:] = 8
    bench.store.publish([staged])

    assert bench.value()["array"].sum() == 0
    assert bench.value()["list"] == [1]
    again: Any = staged.value
    assert again["array"].sum() == 0


def test_a_staged_record_tells_of_itself_what_readers_will_see(bench: Any) -> None:
    staged = bench.store.stage(RecordInfo(key="k", created=NOW, task_name="t", duration=2.5), [1])
    bench.store.publish([staged])

    assert staged.info == bench.find().info
    assert staged.place == (bench.store.identity, "k")
    assert staged.as_result_record().result == [1]


def test_a_group_is_published_together(bench: Any) -> None:
    bench.store.publish([bench.store.stage(RecordInfo(key=f"k{n}", created=NOW), n) for n in range(5)])
    bench.store.publish([])

    assert [bench.value(f"k{n}") for n in range(5)] == list(range(5))


def test_a_record_is_fresh_until_it_expires(bench: Any) -> None:
    bench.write(1, expires=NOW + 10)
    for _ in range(2):
        assert isinstance(bench.find(now=NOW + 9.99), Hit)
        found = bench.find(now=NOW + 10)
        assert missed(found) is MissReason.EXPIRED
        assert found.expired_at == NOW + 10
        assert found.info.task_name == ""
        assert missed(bench.find(now=NOW + 10, load=False)) is MissReason.EXPIRED


def test_a_reader_can_be_stricter_than_the_writer(bench: Any) -> None:
    bench.write(1)
    for _ in range(2):
        assert isinstance(bench.find(now=NOW + 9.99, max_age=10), Hit)
        found = bench.find(now=NOW + 10, max_age=10)
        assert missed(found) is MissReason.TOO_OLD
        assert found.expired_at is None
        assert "at most 10 s" in str(found)


def test_a_reader_cannot_be_laxer_than_the_writer(bench: Any) -> None:
    bench.write(1, expires=NOW + 10)
    assert missed(bench.find(now=NOW + 11, max_age=1000)) is MissReason.EXPIRED


def test_the_head_alone_says_hit_and_loads_later(bench: Any) -> None:
    bench.write([1] * 5000, task_name="t")
    found = bench.find(load=False)

    assert isinstance(found, Hit)
    assert found.value is NOT_LOADED
    assert found.info.task_name == "t"
    assert found.load() == [1] * 5000
    assert found.as_result_record().result == [1] * 5000


def test_a_long_head_is_read_in_full(bench: Any) -> None:
    bench.write(b"x" * 10_000, parts=tuple((f"part {n}", "ab" * 32) for n in range(200)))

    assert len(bench.find(load=False).info.parts) == 200


def test_a_hit_whose_record_is_gone_says_so(bench: Any) -> None:
    bench.write([1])
    found = bench.find(load=False)
    bench.storage.delete("k")
    with pytest.raises(MissingResult, match="gone"):
        found.load()


def test_a_hit_whose_record_was_replaced_does_not_give_the_new_value(bench: Any) -> None:
    bench.write([1])
    found = bench.find(load=False)
    bench.write([2])
    with pytest.raises(MissingResult, match="replaced"):
        found.load()


def test_what_others_refresh_or_delete_is_seen_at_once(bench: Any) -> None:
    theirs = bench.other()
    for n in range(30):
        theirs.write(n)
        assert bench.value() == n
        assert bench.value() == n
    theirs.store.delete("k")
    assert missed(bench.find()) is MissReason.ABSENT


def test_arrays_come_back_writable_and_the_file_stays(local: Any) -> None:
    array = np.arange(1_000_000)
    local.write(array)
    before = (Path(local.storage.basepath) / "k").read_bytes()
    value = local.value()
    value[:] = 0

    assert value.flags.writeable
    assert (Path(local.storage.basepath) / "k").read_bytes() == before
    assert local.value()[7] == 7


def test_mmap_gives_views_of_the_file_that_cannot_be_written(local: Any) -> None:
    local.write(np.arange(1_000_000))
    array: Any = local.find(load=False).load(mmap=True)

    assert array[-1] == 999_999
    assert not array.flags.writeable
    assert array.ctypes.data % 64 == 0


def test_a_value_outlives_its_file(local: Any) -> None:
    local.write(np.arange(1_000_000))
    value = local.value()
    local.write(np.zeros(1_000_000))
    local.storage.delete("k")

    assert value[-1] == 999_999


# --- records that cannot be used ---------------------------------------------------------------------------------


def test_a_stranger_s_record_is_a_miss(bench: Any) -> None:
    bench.other(keyring=Keyring.from_text("them")).write("evil")

    found = bench.find()
    assert missed(found) is MissReason.DAMAGED
    assert "foreign or damaged" in str(found)


def test_records_swapped_between_keys_are_misses(bench: Any) -> None:
    bench.write("a", "a")
    bench.write("b", "b")
    a, b = bytes(bench.storage.get("a").data), bytes(bench.storage.get("b").data)
    bench.storage.put("a", [b])
    bench.storage.put("b", [a])

    assert missed(bench.find("a")) is MissReason.DAMAGED
    assert missed(bench.find("b")) is MissReason.DAMAGED
    assert missed(bench.find("b", load=False)) is MissReason.DAMAGED


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("pwned"),)


def test_nothing_is_executed_from_a_planted_pickle(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    assert Path("pwned").exists(), "the bomb works"
    Path("pwned").unlink()
    local.write(1)
    for data in (pickle.dumps(Bomb()), bytes(local.storage.get("k").data) + pickle.dumps(Bomb())):
        local.storage.put("k", [data])
        assert missed(local.find()) is MissReason.DAMAGED
        assert missed(local.find(load=False)) is MissReason.DAMAGED
        assert not local.store.exists("k")
    assert not Path("pwned").exists()


def test_nothing_is_executed_from_a_payload_that_was_replaced(
    local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filler = b"x" * 100_000
    local.write(filler)
    data = bytearray(local.storage.get("k").data)
    bomb = pickle.dumps(Bomb())
    start = data.index(pickle.dumps(filler, 5)[:2], 160)
    data[start : start + len(bomb)] = bomb
    local.storage.put("k", [data])
    for verify in ("all", "header"):
        assert missed(local.other(verify=verify).find()) is MissReason.DAMAGED
    assert not Path("pwned").exists()


def test_a_newer_format_is_a_miss_that_says_so(bench: Any) -> None:
    bench.write(1)
    data = bytearray(bench.storage.get("k").data)
    struct.pack_into("<H", data, 40, 9)
    bench.storage.put("k", [data])

    assert missed(bench.find()) is MissReason.NEWER_FORMAT


def test_a_raw_buffer_that_rotted_is_a_miss_unless_only_headers_are_verified(local: Any) -> None:
    local.write(np.arange(1_000_000))
    path = Path(local.storage.basepath) / "k"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    local.storage.put("k", [data])

    assert missed(local.find()) is MissReason.DAMAGED
    assert isinstance(local.other(verify="header").find(), Hit)


class Renamed:
    def __reduce__(self) -> Any:
        return _make_renamed, ()


def _make_renamed() -> Renamed:
    return Renamed()


def test_a_class_that_is_gone_is_a_miss(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(Renamed())
    monkeypatch.delitem(globals(), "_make_renamed")

    found = bench.find()
    assert missed(found) is MissReason.CANNOT_LOAD
    assert "_make_renamed" in found.detail
    assert found.info.key == "k"
    with pytest.raises(MissingResult):
        bench.find(load=False).load()


class Private(Serializer):
    type = "private"

    def dumps(self, obj: object) -> bytes:
        return repr(obj).encode()

    def loads(self, blob: bytes) -> object:
        return {"1": 1, "2": 2}[bytes(blob).decode()]


class Failing(Serializer):
    type = "failing"

    def dumps(self, obj: object) -> bytes:
        if obj == "unwritable":
            raise ValueError("not this one")
        return b"x"

    def loads(self, blob: bytes) -> object:
        raise OSError("odd")


def test_errors_of_a_user_s_serializer_are_told_with_its_name(bench: Any) -> None:
    failing = bench.other(serializer=Failing())
    with pytest.raises(SerializationError, match=r"result of my task .* 'failing': ValueError: not this one"):
        failing.write("unwritable", task_name="my task")
    failing.write("unreadable")
    found = failing.find()
    assert missed(found) is MissReason.CANNOT_LOAD
    assert found.detail == "OSError: odd"


def test_a_record_that_rotted_after_the_look_up_says_so(bench: Any) -> None:
    bench.write([1])
    found = bench.find(load=False)
    bench.storage.put("k", [b"rotten"])
    with pytest.raises(MissingResult, match="cannot be read"):
        found.load()


def test_an_unknown_serializer_is_a_miss(bench: Any) -> None:
    writer = bench.other(serializer=Private())
    writer.write(1)

    assert writer.value() == 1
    found = bench.find()
    assert missed(found) is MissReason.UNKNOWN_SERIALIZER
    assert "'private'" in found.detail


def test_the_reader_uses_the_serializer_that_the_record_names(bench: Any) -> None:
    bench.other(serializer="json").write({"a": [1]})

    assert bench.value() == {"a": [1]}


def test_a_store_can_refuse_serializers_that_execute(bench: Any) -> None:
    bench.write([1], "pickled")
    bench.value("pickled")
    bench.other(serializer="json").write([1], "json")
    strict = bench.other(safe_serializers_only=True, serializer="json")

    assert missed(strict.find("pickled")) is MissReason.UNSAFE_SERIALIZER
    assert strict.value("json") == [1]
    strict.write([2], "k")
    with pytest.raises(SerializationError, match="safe_serializers_only"):
        bench.other(safe_serializers_only=True, serializer="pickle").write([1])
    with pytest.raises(SerializationError, match="safe_serializers_only"):
        bench.other(safe_serializers_only=True, serializer="auto").write({1, 2})


def test_a_value_kept_in_memory_is_no_way_around_that(bench: Any) -> None:
    bench.write(1)
    bench.value()
    bench.store.safe_serializers_only = True

    assert missed(bench.find()) is MissReason.UNSAFE_SERIALIZER


# --- storages in trouble -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreError("burning"), OSError("odd"), RuntimeError("odder"), MemoryError()])
def test_a_storage_in_trouble_is_a_miss(make_bench: Any, troubled: Any, error: Exception) -> None:
    bench = make_bench(troubled(error))

    found = bench.find()
    assert missed(found) is MissReason.UNREADABLE
    assert type(error).__name__ in found.detail
    assert missed(bench.find(load=False)) is MissReason.UNREADABLE


def test_a_storage_that_fails_under_way_is_a_miss(bench: Any, troubled: Any) -> None:
    bench.write(1)
    bench.value()
    bench.store._heads = troubled()

    assert missed(bench.find()) is MissReason.UNREADABLE


def test_an_interrupt_is_not_swallowed(make_bench: Any, troubled: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_bench(troubled(KeyboardInterrupt())).find()


def test_publishing_to_a_storage_in_trouble_raises_a_store_error(make_bench: Any, troubled: Any) -> None:
    with pytest.raises(StoreError):
        make_bench(troubled()).write(1)


def test_a_key_that_leaves_the_store_is_never_written(bench: Any) -> None:
    with pytest.raises(KeyPathError):
        bench.write(1, "../k")
    assert missed(bench.find("../k")) is MissReason.UNREADABLE


def test_a_value_that_cannot_be_written_names_where(bench: Any) -> None:
    with pytest.raises(SerializationError, match=r"value\['a'\]\[1\] \(generator\)"):
        bench.write({"a": [1, (n for n in ())]})


# --- heads and payloads apart ------------------------------------------------------------------------------------


@pytest.fixture
def halves(make_bench: Any, tmp_path: Path) -> Any:
    bench = make_bench(LocalFileSystem(tmp_path / "payloads"), metadata_storage=LocalFileSystem(tmp_path / "heads"))
    bench.heads = bench.store.metadata_storage
    return bench


def test_heads_and_payloads_can_live_apart(halves: Any, tmp_path: Path) -> None:
    halves.write([1], "a/b")
    halves.write(np.arange(1_000_000), "big")

    assert halves.value("a/b") == [1]
    assert halves.value("big")[-1] == 999_999
    assert halves.find("big", load=False).load()[-1] == 999_999
    assert (tmp_path / "heads" / "a" / "b").stat().st_size < 1000
    assert (tmp_path / "payloads" / "a" / "b").read_bytes() == pickle.dumps([1], 5)


@pytest.mark.parametrize("load", [True, False])
def test_a_missing_half_is_a_miss(halves: Any, load: bool) -> None:
    halves.write([1])
    payload = bytes(halves.storage.get("k").data)
    halves.storage.delete("k")
    assert missed(halves.find(load=load)) is MissReason.HALF_MISSING

    halves.storage.put("k", [payload])
    assert isinstance(halves.find(load=load), Hit)
    halves.heads.delete("k")
    assert missed(halves.find(load=load)) is MissReason.ABSENT


def test_a_foreign_half_is_a_miss_and_not_executed(halves: Any) -> None:
    halves.write([1])
    halves.write([2], "k2")
    halves.storage.put("k", [bytes(halves.storage.get("k2").data)])
    assert missed(halves.find()) is MissReason.DAMAGED

    halves.storage.put("k", [pickle.dumps([3])])
    assert missed(halves.find()) is MissReason.DAMAGED


def test_a_payload_newer_than_its_head_is_a_miss(halves: Any) -> None:
    """What a reader sees, and what a crash leaves, between the two writes of a refresh."""
    halves.write([1])
    head = bytes(halves.heads.get("k").data)
    halves.write([2])
    halves.heads.put("k", [head])

    assert missed(halves.find()) is MissReason.DAMAGED


def test_a_head_without_a_place_for_payloads_is_a_miss(halves: Any, make_bench: Any) -> None:
    halves.write([1])
    assert missed(make_bench(halves.heads).find()) is MissReason.HALF_MISSING
    assert missed(make_bench(halves.storage).find()) is MissReason.DAMAGED


def test_removing_removes_both_halves(halves: Any) -> None:
    halves.write([1])
    assert halves.store.delete("k")
    assert halves.storage.get("k") is None
    assert halves.heads.get("k") is None
    assert not halves.store.delete("k")


def test_one_place_for_both_halves_is_one_file(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(LocalFileSystem(tmp_path), metadata_storage=str(tmp_path))
    bench.write([1])

    assert bench.value() == [1]
    assert bench.other().value() == [1]


def test_a_checker_sees_every_byte_without_deserialising(local: Any, halves: Any) -> None:
    for bench in (local, halves):
        bench.write(np.arange(20_000))
        assert bench.store.verify("k").info.key == "k"
        assert bench.store.verify("absent") is None
        data = bytearray(bench.storage.get("k").data)
        data[-1] ^= 1
        bench.storage.put("k", [data])
        with pytest.raises(RecordError, match="foreign or damaged"):
            bench.store.verify("k")
    halves.storage.delete("k")
    with pytest.raises(RecordError) as caught:
        halves.store.verify("k")
    assert caught.value.reason == MissReason.HALF_MISSING.value


# --- registering -------------------------------------------------------------------------------------------------


def test_a_registered_serializer_is_found_by_every_store() -> None:
    from flowstone.serializers import registry

    before = dict(registry._known)
    try:
        register_serializer(Private())
        from flowstone.results import ResultStore

        storage = MemoryFileSystem()
        ring = Keyring.from_text("x")
        writer = ResultStore(storage, serializer="private", keyring=ring)
        writer.publish([writer.stage(RecordInfo(key="k", created=NOW), 2)])
        found = ResultStore(storage, keyring=ring).lookup("k", NOW)
        assert isinstance(found, Hit)
        assert found.value == 2
    finally:
        registry._known.clear()
        registry._known.update(before)
