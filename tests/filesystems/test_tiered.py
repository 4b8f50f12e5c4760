"""Fast storages in front of a slow one: who has the last word, what is asked of whom, and what a laptop may do."""

from __future__ import annotations

import math
import os
import pickle
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flowstone.exceptions import ConfigurationError, StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem, TieredFileSystem
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode
from flowstone.filesystems.copies import Overlaid, Trusted, read_note, write_note
from flowstone.warn import forget_warnings


class Counted(Storage):
    """A slow storage that counts what is asked of it, and can be away."""

    def __init__(self) -> None:
        self.inner = MemoryFileSystem()
        self.calls: Counter[str] = Counter()
        self.away = False
        self.before_get = lambda: None

    def _count(self, name: str) -> Storage:
        if self.away:
            raise StoreError("no connection")
        self.calls[name] += 1
        return self.inner

    def asked(self) -> dict[str, int]:
        """Say what was asked since the last time."""
        calls, self.calls = dict(self.calls), Counter()
        return calls

    @property
    def identity(self) -> str:
        return self.inner.identity

    def get(self, key: str) -> Blob | None:
        storage = self._count("get")
        self.before_get()
        return storage.get(key)

    def stamp(self, key: str) -> Stamp | None:
        return self._count("stamp").stamp(key)

    def head(self, key: str, size: int) -> bytes | None:
        return self._count("head").head(key, size)

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        return self._count("put").put(key, parts, mode)

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        self._count("publish").publish(group)

    def delete(self, key: str) -> bool:
        return self._count("delete").delete(key)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        return self._count("scan").scan(prefix)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def slow() -> Counted:
    return Counted()


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def tier(*layers: Storage, **options: object) -> TieredFileSystem:
    return TieredFileSystem(*layers, **{"write_back": False, **options})  # type: ignore[arg-type]


# Making one.


def test_layers_may_be_named_by_path_or_url(tmp_path: Path) -> None:
    storage = TieredFileSystem("memory://test-tier", tmp_path / "fast", f"file://{tmp_path}/slow")
    assert storage.identity == LocalFileSystem(tmp_path / "slow").identity


def test_what_cannot_be_a_tier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least two"):
        TieredFileSystem(tmp_path)
    for seconds in (-1, math.nan):
        with pytest.raises(ConfigurationError, match="trust_seconds"):
            TieredFileSystem("memory://a", tmp_path, trust_seconds=seconds)


def test_all_options_travel_with_a_copy(tmp_path: Path) -> None:
    storage = TieredFileSystem("memory://a", tmp_path, read_only=True, trust_seconds=3.5, max_waiting_bytes=7)
    copy = pickle.loads(pickle.dumps(storage))
    assert (copy.read_only, copy.write_back, copy.trust_seconds, copy.max_waiting_bytes) == (True, True, 3.5, 7)
    assert [layer.identity for layer in copy.layers] == [layer.identity for layer in storage.layers]


def test_what_a_tier_promises_is_what_its_slowest_layer_promises(slow: Counted, tmp_path: Path) -> None:
    slow.coordinates = slow.atomic_groups = False
    assert not tier(LocalFileSystem(tmp_path), slow).coordinates
    assert not tier(LocalFileSystem(tmp_path), slow).atomic_groups
    assert tier(slow, LocalFileSystem(tmp_path)).coordinates
    assert tier(LocalFileSystem(tmp_path), slow, read_only=True).atomic_groups


def test_making_a_tier_asks_nothing_of_its_layers() -> None:
    class Untouchable(Counted):
        @property
        def coordinates(self) -> bool:  # type: ignore[override]
            raise AssertionError("asked")

        atomic_groups = identity = coordinates  # type: ignore[assignment]

    for options in ({}, {"read_only": True}, {"write_back": True}, {"trust_seconds": 1.0}, {"trust_seconds": math.inf}):
        storage = tier(MemoryFileSystem(), Untouchable(), **options)
        storage.put("k", [b"data"])
        assert content(storage, "k") == b"data"
        storage.flush()


# Copies.


@pytest.mark.parametrize("fast", [1, 2])
def test_a_blob_is_fetched_once_and_then_only_its_stamp_is_asked(slow: Counted, tmp_path: Path, fast: int) -> None:
    layers = [MemoryFileSystem(), LocalFileSystem(tmp_path)][:fast]
    storage = tier(*layers, slow)
    slow.inner.put("k", [b"data"])
    assert content(storage, "k") == b"data"
    assert slow.asked()["get"] == 1
    for _ in range(5):
        assert content(storage, "k") == b"data"
        assert storage.head("k", 2) == b"da"
    assert set(slow.asked()) == {"stamp"}


def test_a_copy_in_a_folder_outlives_the_process_that_made_it(slow: Counted, tmp_path: Path) -> None:
    slow.inner.put("k", [b"data"])
    assert content(tier(MemoryFileSystem(), LocalFileSystem(tmp_path), slow), "k") == b"data"
    slow.asked()
    again = tier(MemoryFileSystem(), LocalFileSystem(tmp_path), slow)
    assert content(again, "k") == b"data"
    assert "get" not in slow.asked()


def test_what_one_puts_is_near_at_once(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow)
    stamp = storage.put("k", [b"da", b"ta"])
    assert slow.asked() == {"put": 1}
    blob = storage.get("k")
    assert blob is not None
    assert (bytes(blob.data), blob.stamp) == (b"data", stamp)
    assert slow.asked() == {"stamp": 1}


def test_refreshes_and_removals_by_others_are_seen_at_once(slow: Counted, tmp_path: Path) -> None:
    storage = tier(MemoryFileSystem(), LocalFileSystem(tmp_path), slow)
    slow.inner.put("k", [b"old"])
    assert content(storage, "k") == b"old"
    slow.inner.put("k", [b"new"])
    assert content(storage, "k") == b"new"
    slow.inner.delete("k")
    assert content(storage, "k") is storage.stamp("k") is storage.head("k", 1) is None
    slow.inner.put("k", [b"again"])
    assert content(storage, "k") == b"again"


def test_a_refresh_between_asking_and_fetching_is_noted_for_what_it_is(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow)
    slow.inner.put("k", [b"first"])
    slow.before_get = lambda: slow.inner.put("k", [b"second"])  # type: ignore[assignment, return-value]
    assert content(storage, "k") == b"second"
    slow.before_get = lambda: None
    slow.inner.put("k", [b"third"])
    assert content(storage, "k") == b"third"


def test_a_copy_that_was_written_late_is_not_taken_for_the_newer_version(slow: Counted, tmp_path: Path) -> None:
    near = LocalFileSystem(tmp_path)
    storage, other = tier(near, slow), tier(LocalFileSystem(tmp_path), slow)
    storage.put("k", [b"one"])
    late = near.get("k")
    assert late is not None
    other.put("k", [b"two"])
    near.put("k", [late.data])  # the first writer's copy lands after the second's
    assert content(storage, "k") == content(other, "k") == b"two"


FOREIGN_NOTES = [
    b"[]",
    b"5",
    b"{",
    b"null",
    b'["other",[1]]',
    b'["copy",1]',
    b'["copy",{}]',
    b'[["copy"],[1]]',
    b"[" * 5000,
]


@pytest.mark.parametrize(
    "foreign",
    [b"", b"garbage", b"FLSNOTE1", b"FLSNOTE1\xff\xff\xff\xff[]"]
    + [b"FLSNOTE1" + (12 + len(note)).to_bytes(4, "little") + note for note in FOREIGN_NOTES],
)
def test_what_else_lies_in_a_fast_layer_is_not_taken_for_a_copy(slow: Counted, tmp_path: Path, foreign: bytes) -> None:
    slow.inner.put("k", [b"data"])
    LocalFileSystem(tmp_path).put("k", [foreign])
    assert content(tier(LocalFileSystem(tmp_path), slow), "k") == b"data"


def test_a_broken_fast_layer_makes_nothing_fail(slow: Counted, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    storage = tier(LocalFileSystem(tmp_path / "file"), slow)
    storage.put("k", [b"data"])
    assert content(storage, "k") == b"data"
    assert storage.head("k", 2) == b"da"
    assert storage.delete("k") is True
    assert content(storage, "k") is None


def test_a_slow_layer_that_cannot_be_asked_is_an_error_and_not_an_old_value(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow)
    storage.put("k", [b"data"])
    slow.away = True
    with pytest.raises(StoreError):
        storage.get("k")
    slow.away = False
    assert content(storage, "k") == b"data"


def test_a_blob_too_large_for_the_fast_layer_is_served_from_the_slow_one(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(max_bytes=1000), slow)
    storage.put("k", [b"x" * 5000])
    assert content(storage, "k") == b"x" * 5000
    assert slow.asked()["get"] == 1


def test_a_large_copy_is_a_mapped_view_that_is_aligned(slow: Counted, tmp_path: Path) -> None:
    storage = tier(LocalFileSystem(tmp_path), slow)
    data = os.urandom(2 << 20)
    storage.put("k", [data])
    blob = storage.get("k")
    assert blob is not None
    assert isinstance(blob.data, memoryview)
    assert blob.data == data
    assert len(write_note("copy", blob.stamp)) % 64 == 0


def test_a_group_goes_to_the_slow_layer_in_one_step(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow)
    storage.put("a", [b"old"])
    slow.asked()
    storage.publish([("a", [b"1"]), ("b", [b"1"])])
    assert slow.asked() == {"publish": 1}
    assert content(storage, "a") == content(storage, "b") == b"1"


# Trust.


def test_with_trust_the_stamp_is_asked_once_in_that_time(slow: Counted) -> None:
    clock = Time()
    trusted = Trusted(slow, 10, clock=clock)
    storage = tier(MemoryFileSystem(), trusted)
    slow.inner.put("k", [b"old"])
    for _ in range(5):
        assert content(storage, "k") == b"old"
    assert slow.asked() == {"stamp": 1, "get": 1}
    slow.inner.put("k", [b"new"])
    assert content(storage, "k") == b"old"
    clock.now += 10
    assert content(storage, "k") == b"new"


def test_with_trust_own_writes_are_seen_at_once(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow, trust_seconds=1000)
    for number in range(3):
        storage.put("k", [b"%d" % number])
        assert content(storage, "k") == b"%d" % number
        storage.publish([("k", [b"g%d" % number]), ("other", [b""])])
        assert content(storage, "k") == b"g%d" % number
    storage.delete("k")
    assert content(storage, "k") is None


def test_with_trust_what_was_missing_is_asked_again(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow, trust_seconds=1000)
    assert content(storage, "k") is None
    slow.inner.put("k", [b"data"])
    assert content(storage, "k") == b"data"


def test_an_answer_from_before_an_own_write_is_not_trusted_after_it(slow: Counted) -> None:
    storage = tier(MemoryFileSystem(), slow, trust_seconds=1000)
    slow.inner.put("k", [b"old"])
    writes = iter([lambda: tier_put(storage), lambda: None])
    slow.before_get = lambda: next(writes, lambda: None)()
    storage.get("k")
    assert content(storage, "k") == b"own"


def tier_put(storage: Storage) -> None:
    thread = threading.Thread(target=storage.put, args=("k", [b"own"]))
    thread.start()
    thread.join()


def test_with_trust_for_ever_nothing_is_asked_that_is_near_even_by_a_new_process(slow: Counted, tmp_path: Path) -> None:
    slow.inner.put("k", [b"data"])
    for fast in ([LocalFileSystem(tmp_path)], [MemoryFileSystem(), LocalFileSystem(tmp_path)]):
        storage = tier(*fast, slow, trust_seconds=math.inf)
        assert content(storage, "k") == b"data"
        slow.asked()
        slow.away = True
        assert content(storage, "k") == b"data"
        assert storage.head("k", 2) == b"da"
        assert storage.stamp("k") == slow.inner.stamp("k")
        slow.away = False
    storage.publish([("k", [b"own"]), ("other", [b"own"])])
    assert content(storage, "k") == b"own"
    storage.put("k", [b"put"])
    assert content(storage, "k") == b"put"


# A slow layer that is only read.


@pytest.fixture
def laptop(slow: Counted, tmp_path: Path) -> TieredFileSystem:
    return TieredFileSystem(MemoryFileSystem(), LocalFileSystem(tmp_path / "mine"), slow, read_only=True)


def test_nothing_is_ever_written_to_a_layer_that_is_only_read(slow: Counted, laptop: TieredFileSystem) -> None:
    slow.inner.put("theirs", [b"theirs"])
    laptop.put("k", [b"x"])
    laptop.put("new", [b"x"], WriteMode.CREATE_ONLY)
    laptop.publish([("a", [b"x"]), ("theirs", [b"mine"])])
    laptop.delete("k")
    assert content(laptop, "theirs") == b"mine"
    with pytest.raises(StoreError, match="read-only"):
        laptop.delete("theirs")
    laptop.flush()
    laptop.sweep()
    assert not set(slow.asked()) & {"put", "publish", "delete"}
    assert content(slow.inner, "theirs") == b"theirs"


def test_own_results_hide_shared_ones_until_those_change(slow: Counted, laptop: TieredFileSystem) -> None:
    slow.inner.put("k", [b"theirs"])
    assert content(laptop, "k") == b"theirs"
    stamp = laptop.put("k", [b"mine"])
    assert content(laptop, "k") == b"mine"
    assert laptop.stamp("k") == stamp
    slow.inner.put("k", [b"newer"])
    assert content(laptop, "k") == b"newer"
    assert laptop.stamp("k") != stamp


def test_own_results_that_nobody_else_has_stay(slow: Counted, laptop: TieredFileSystem, tmp_path: Path) -> None:
    laptop.put("k", [b"mine"])
    again = TieredFileSystem(MemoryFileSystem(), LocalFileSystem(tmp_path / "mine"), slow, read_only=True)
    assert content(again, "k") == b"mine"
    assert again.stamp("k") == laptop.stamp("k")
    assert again.put("k", [b"other"], WriteMode.CREATE_ONLY) is None
    again.put("k", [b"refreshed"])
    assert content(laptop, "k") == b"refreshed", "the memory of another process sees it"


def test_a_deleted_own_result_shows_the_shared_one_again(slow: Counted, laptop: TieredFileSystem) -> None:
    slow.inner.put("k", [b"theirs"])
    laptop.put("k", [b"mine"])
    with pytest.raises(StoreError, match="read-only here"):
        laptop.delete("k")
    assert content(laptop, "k") == b"theirs"


def test_shared_results_are_fetched_once(slow: Counted, laptop: TieredFileSystem) -> None:
    slow.inner.put("k", [b"theirs"])
    for _ in range(3):
        assert content(laptop, "k") == b"theirs"
    assert slow.asked()["get"] == 1


def test_both_halves_are_listed_once_each(slow: Counted, laptop: TieredFileSystem) -> None:
    slow.inner.put("theirs", [b"12345"])
    slow.inner.put("both", [b"1"])
    content(laptop, "theirs")
    laptop.put("mine", [b"123"])
    laptop.put("both", [b"12"])
    entries = list(laptop.scan())
    assert sorted(entry.key for entry in entries) == ["both", "mine", "theirs"]
    sizes = {entry.key: entry.size for entry in entries}
    assert (sizes["theirs"], sizes["mine"]) == (5, 3)


def test_records_from_before_there_was_a_shared_store_are_own_ones(slow: Counted, tmp_path: Path) -> None:
    LocalFileSystem(tmp_path / "mine").put("k", [b"plain"])
    laptop = TieredFileSystem(LocalFileSystem(tmp_path / "mine"), slow, read_only=True)
    assert content(laptop, "k") == b"plain"
    assert laptop.head("k", 2) == b"pl"
    assert [entry.key for entry in laptop.scan()] == ["k"]
    slow.inner.put("k", [b"theirs"])
    assert content(laptop, "k") == b"theirs"


def test_away_from_the_shared_store_what_is_near_serves_and_asking_rests(
    slow: Counted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forget_warnings()
    clock = Time()
    laptop = Overlaid(LocalFileSystem(tmp_path), slow, clock=clock)
    slow.inner.put("k", [b"theirs"])
    assert content(laptop, "k") == b"theirs"
    laptop.put("own", [b"mine"])
    slow.away = True
    asked = []
    slow.stamp = lambda key: asked.append(key) or slow._count("stamp").stamp(key)  # type: ignore[func-returns-value, method-assign]
    for _ in range(3):
        assert content(laptop, "k") == b"theirs"
        assert content(laptop, "own") == b"mine"
        assert content(laptop, "missing") is None
        assert laptop.stamp("k") is not None
        laptop.put("later", [b"offline"])
        assert content(laptop, "later") == b"offline"
    assert len(asked) == 1
    assert "cannot be reached" in caplog.text
    assert {entry.key for entry in laptop.scan()} == {"own", "later"}
    slow.away = False
    slow.inner.put("k", [b"newer"])
    assert content(laptop, "k") == b"theirs"
    clock.now += Overlaid.PATIENCE_SECONDS
    assert content(laptop, "k") == b"newer"
    assert content(laptop, "later") == b"offline"


def test_records_that_never_change_need_no_shared_store_at_all(slow: Counted, tmp_path: Path) -> None:
    slow.inner.put("k", [b"theirs"])
    laptop = TieredFileSystem(LocalFileSystem(tmp_path), slow, read_only=True, trust_seconds=math.inf)
    assert content(laptop, "k") == b"theirs"
    slow.asked()
    assert content(laptop, "k") == b"theirs"
    assert laptop.stamp("k") == slow.inner.stamp("k")
    assert slow.asked() == {}


# Notes.


@pytest.mark.parametrize("stamp", [None, Stamp((1, 2, 3)), Stamp(("etag", None, "é")), Stamp(("x" * 500,))])
@pytest.mark.parametrize("kind", ["copy", "own"])
def test_a_note_says_what_was_noted(kind: str, stamp: Stamp | None) -> None:
    note = write_note(kind, stamp)  # type: ignore[arg-type]
    assert read_note(note + b"data") == (kind, stamp, len(note))
    assert read_note(memoryview(note + b"data")) == (kind, stamp, len(note))


def test_a_stamp_that_cannot_be_noted_makes_a_copy_that_is_never_used() -> None:
    stamp = Stamp((b"bytes", (1, 2)))
    note = read_note(write_note("copy", stamp))
    assert note is not None
    assert note[1] != stamp
