"""A listing says what each record is, from its head alone, without loading, running or using anything."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone import housekeeping
from flowstone.exceptions import KeyPathError
from flowstone.filesystems import MemoryFileSystem
from flowstone.filesystems.base import Blob, Entry, Storage
from flowstone.housekeeping import RecordState, Selection
from flowstone.records import FORMAT, MAGIC, RecordInfo, seal
from flowstone.records.container import FORMAT_FIELD, TAG_END
from flowstone.results import ResultStore
from flowstone.signing import Keyring

House = Any
NOW = 4_000_000_000.0
DAY = 86400.0
THEIRS = Keyring.from_text("theirs")


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def test_an_entry_tells_what_the_record_says_of_itself(house: House) -> None:
    house.write(
        "a/b",
        [1, 2],
        created=NOW - 5,
        expires=NOW + 5,
        task_name="load",
        task_module="jobs",
        task_run_id="r",
        flow_run_id="f",
        duration=2.5,
        policy="INPUTS",
    )
    entry = house.entry("a/b")

    assert (entry.key, entry.state, entry.detail) == ("a/b", RecordState.FRESH, "")
    assert (entry.created, entry.expires, entry.duration) == (NOW - 5, NOW + 5, 2.5)
    assert (entry.task, entry.task_name, entry.task_module) == ("jobs.load", "load", "jobs")
    assert (entry.task_run_id, entry.flow_run_id) == ("r", "f")
    assert (entry.policy, entry.serializer) == ("INPUTS", "pickle")
    assert entry.info is not None
    assert entry.size == entry.info.size
    assert entry.ours
    assert [repr(each) for each in house.entries().values()] == [repr(entry)]


def test_what_was_written_is_what_is_listed_and_nothing_else(house: House) -> None:
    keys = {"a", "b", "c/d", "c/e/f"}
    for key in keys:
        house.write(key)

    assert house.keys() == keys
    assert house.keys(Selection(prefix="c/")) == {"c/d", "c/e/f"}
    assert house.keys(Selection(glob="c/?")) == {"c/d"}
    assert house.keys(~Selection(keys={"a", "b"})) == {"c/d", "c/e/f"}


def test_nothing_is_found_under_a_key_without_a_record(house: House) -> None:
    house.write("ab")
    assert housekeeping.find(house.store, "a") is None


def test_an_empty_and_a_missing_store_have_no_records(house: House) -> None:
    assert house.keys() == set()


def test_an_expired_record_says_so(house: House) -> None:
    house.write(created=NOW - 10, expires=NOW)
    assert house.entry().state is RecordState.EXPIRED


def test_a_record_of_another_key_is_foreign_and_says_whose(house: House) -> None:
    house.write(ring=THEIRS, task_name="load")
    entry = house.entry()

    assert entry.state is RecordState.FOREIGN
    assert entry.signer == THEIRS.writing.id
    assert THEIRS.writing.id.hex() in entry.detail
    assert (entry.head, entry.info, entry.task) == (None, None, "")


def test_a_record_of_a_newer_format_is_newer(house: House) -> None:
    house.write()
    data = bytearray(house.raw())
    FORMAT_FIELD.pack_into(data, TAG_END, FORMAT + 1)
    house.put_raw(bytes(data))

    assert house.entry().state is RecordState.NEWER


def test_half_a_record_is_a_half(split: House) -> None:
    split.write()
    split.payloads.delete("k")

    assert split.entry().state is RecordState.HALF


def test_a_record_cut_short_is_damaged_though_its_head_is_whole(local: House) -> None:
    local.write(value=b"\x01" * 20_000)
    local.put_raw(local.raw()[:-1])
    entry = local.entry()

    assert entry.state is RecordState.DAMAGED
    assert entry.info is not None


@pytest.mark.parametrize("data", [b"", b"x", pickle.dumps([1]), bytes(500)])
def test_a_file_that_never_was_a_record_is_told_from_a_record_that_lost_its_beginning(
    local: House, data: bytes
) -> None:
    local.write()
    lost = data + local.raw()[len(data) :] if data else b""
    local.put_raw(data, "notes.txt")
    local.put_raw(data, "objects/" + "ab" * 32)
    local.put_raw(data, "ab" * 32)
    local.put_raw(b"x" + local.raw()[1:], "b")
    if data != bytes(500):
        local.put_raw(lost, "c" * 64)

    states = {key: entry.state for key, entry in local.entries().items() if key != "k"}
    assert states.pop("notes.txt") is RecordState.STRAY
    assert states.pop("objects/" + "ab" * 32) is RecordState.STRAY
    assert set(states.values()) == {RecordState.DAMAGED}


def test_a_record_that_lost_its_beginning_is_known_by_who_signed_it(local: House) -> None:
    local.write()
    local.put_raw(bytes(8) + local.raw()[8:], "report")
    local.put_raw(bytes(8) + local.raw()[8:120], "notes")

    assert local.entry("report").state is RecordState.DAMAGED
    assert local.entry("notes").state is RecordState.STRAY


@given(position=st.integers(0, 10_000), mask=st.integers(1, 255))
def test_no_flipped_bit_in_a_small_record_lets_it_pass(position: int, mask: int) -> None:
    store = ResultStore(MemoryFileSystem(), keyring=THEIRS)
    store.publish([store.stage(RecordInfo("k" * 40, NOW, task_name="t", parts=(("inputs", "ab"),)), [1])])
    data = bytearray(store.result_storage.get("k" * 40).data)  # type: ignore[union-attr]
    data[position % len(data)] ^= mask
    store.result_storage.put("k" * 40, [data])
    entry = housekeeping.find(store, "k" * 40, now=NOW)

    assert entry is not None
    assert not entry.ours


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_at_all_are_judged_without_an_error(data: bytes, magic: bool) -> None:
    storage = MemoryFileSystem()
    storage.put("k", [MAGIC + data if magic else data])
    (entry,) = housekeeping.entries(ResultStore(storage, keyring=THEIRS), now=NOW)

    assert not entry.ours


@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_a_record_that_the_holder_of_a_key_made_wrong_is_judged_without_an_error(at: int, junk: bytes) -> None:
    from blake3 import blake3

    sealed = seal(RecordInfo("k", NOW, task_name="t"), b"x", [b"yy"], THEIRS.writing, serializer="pickle").head
    data = bytearray(sealed)
    at = TAG_END + at % (len(data) - TAG_END)
    data[at : at + len(junk)] = junk[: len(data) - at]
    data[8:TAG_END] = blake3(data[TAG_END:], key=THEIRS.writing.secret).digest()
    storage = MemoryFileSystem()
    storage.put("k", [data])

    for entry in housekeeping.entries(ResultStore(storage, keyring=THEIRS), now=NOW):
        assert isinstance(entry.task + entry.policy + entry.serializer, str)
        assert entry.duration >= 0
    housekeeping.check(ResultStore(storage, keyring=THEIRS), now=NOW)


def test_no_tool_loads_or_runs_what_a_record_holds(house: House, tmp_path: Path) -> None:
    house.write("own", Bomb(tmp_path / "own"))
    house.write("theirs", Bomb(tmp_path / "theirs"), ring=THEIRS)
    house.put_raw(pickle.dumps(Bomb(tmp_path / "plain")), "plain")

    assert house.keys() == {"own", "theirs", "plain"}
    housekeeping.stats(house.store)
    housekeeping.check(house.store, repair=True)
    housekeeping.export(house.store, Selection(), tmp_path / "a.tar")
    housekeeping.import_(house.store, tmp_path / "a.tar", trust=True, overwrite=True)
    housekeeping.prune(house.store, max_bytes=0, by="cost")

    assert not any((tmp_path / name).exists() for name in ("own", "theirs", "plain"))


class Counting(MemoryFileSystem):
    """A storage that counts the blobs that are read as a whole."""

    gets = 0

    def get(self, key: str) -> Blob | None:
        self.gets += 1
        return super().get(key)


def test_a_listing_reads_heads_only(make_house: type[House]) -> None:
    storage = Counting()
    house = make_house(storage)
    house.write("a", b"\x01" * 50_000)
    house.write("b", [bytes(10)] * 1000)

    assert len(house.keys()) == 2
    assert storage.gets == 0


def test_a_listing_opens_only_what_the_storage_cannot_tell(make_house: type[House], monkeypatch: Any) -> None:
    house = make_house(MemoryFileSystem())
    for key in ("a", "b", "c"):
        house.write(key)
    opened: list[str] = []
    head = MemoryFileSystem.head
    monkeypatch.setattr(MemoryFileSystem, "head", lambda self, key, size: opened.append(key) or head(self, key, size))

    assert house.keys(Selection(prefix="a") & Selection(task=None)) == {"a"}
    assert house.keys(Selection(larger_than=10**6)) == set()
    assert opened == ["a"]


@pytest.mark.skipif(not hasattr(os, "O_NOATIME"), reason="the system always notes when a file was read")
def test_looking_does_not_count_as_use(local: House, folder: Path, tmp_path: Path) -> None:
    local.write("small")
    local.write("large", b"\x01" * 50_000)
    for key in ("small", "large"):
        status = (folder / key).stat()
        os.utime(folder / key, ns=(status.st_mtime_ns - 10**15, status.st_mtime_ns))  # what a kernel would renew
    before = {key: (folder / key).stat().st_atime_ns for key in ("small", "large")}

    local.entries()
    housekeeping.check(local.store)
    housekeeping.export(local.store, Selection(), tmp_path / "a.tar")

    assert {key: (folder / key).stat().st_atime_ns for key in ("small", "large")} == before


def test_what_goes_while_it_is_listed_is_left_out(local: House) -> None:
    for key in ("a", "b", "c"):
        local.write(key)
    seen = []
    for entry in housekeeping.entries(local.store, now=NOW):
        seen.append(entry.key)
        for key in {"a", "b", "c"} - set(seen):
            local.storage.delete(key)

    assert len(seen) == 1


def test_what_is_in_a_committed_group_is_listed_before_it_is_at_its_place(local: House, folder: Path) -> None:
    for key in ("a", "b"):
        local.write(key, "new", created=NOW - 3)
    (folder / ".flowstone" / "group").mkdir()
    for key in ("a", "b"):
        (folder / key).rename(folder / ".flowstone" / "group" / key)
    old = seal(RecordInfo("a", NOW - 9), b"old", [], local.store.keyring.writing, serializer="pickle")
    (folder / "a").write_bytes(old.head)

    assert local.entry("a").created == NOW - 3
    assert local.entry("b").state is RecordState.FRESH
    assert local.keys() == {"a", "b"}


def test_a_record_replaced_over_and_over_is_never_seen_torn(house: House) -> None:
    values = [b"\x01" * size for size in (10, 5_000, 30_000)]
    house.write(value=values[0])

    def replace() -> None:
        for turn in range(150):
            house.write(value=values[turn % 3])

    writer = threading.Thread(target=replace)
    writer.start()
    seen = []
    while writer.is_alive() or not seen:
        found = housekeeping.find(house.store, "k", now=NOW)
        assert found is not None
        seen.append((found.state, found.detail))
    writer.join()

    assert set(seen) == {(RecordState.FRESH, "")}


class Lying(Storage):
    """A storage whose records cannot be read."""

    @property
    def identity(self) -> str:
        return "lying://"

    def scan(self, prefix: str = "") -> Any:
        yield Entry("k", 5, 1.0, 2.0)

    def _fail(self, *_: object) -> Any:
        raise OSError(5, "Input/output error")

    get = stamp = head = put = publish = delete = _fail  # type: ignore[assignment]


def test_a_record_that_cannot_be_read_is_listed_as_such(make_house: type[House]) -> None:
    (entry,) = make_house(Lying()).entries().values()

    assert entry.state is RecordState.UNREADABLE
    assert "Input/output error" in entry.detail


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
def test_a_pipe_or_link_in_the_store_makes_nobody_wait(local: House, folder: Path) -> None:
    local.write("a")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "a")

    assert local.keys() == {"a"}
    assert local.entry("pipe").state is RecordState.UNREADABLE
    assert local.entry("link").state is RecordState.UNREADABLE


@pytest.mark.parametrize("key", ["../k", "/etc/passwd", "a//b", "a/../../b", ".flowstone/tmp/x", ""])
def test_no_key_leads_out_of_the_store(house: House, key: str) -> None:
    with pytest.raises(KeyPathError):
        housekeeping.find(house.store, key)
