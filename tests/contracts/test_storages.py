"""What every storage owes its users, on every implementation (see conftest.py for how to add one)."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable

import pytest

from flowstone.exceptions import KeyPathError
from flowstone.filesystems import sweep
from flowstone.filesystems.base import Entry, Stamp, Storage, SweepReport, WriteMode

Open = Callable[[], Storage]

MEGABYTE = 1 << 20

GOOD_KEYS = [
    "0123456789abcdef" * 4,
    "a",
    "A",
    "with space",
    "dots.and-dashes_and=signs+plus@at,comma",
    "%41",
    "%",
    "naïve-\u00e9",
    "nai\u0308ve-e\u0301",
    "日本語",
    "folder/inside/deep",
    "folder/other",
    ".hidden",
    "x" * 79 + "/" + "é" * 39,
]

BAD_KEYS = [
    "",
    "/absolute",
    "..",
    ".",
    "../outside",
    "a/../../outside",
    "a//b",
    "a/",
    "nul\0byte",
    "line\nbreak",
    "back\\slash",
    "~home",
    "c:drive",
    ".flowstone",
    ".flowstone/tmp/x",
    "a/.flowstone-store",
    "x" * 300,
    "trailing.",
    "trailing ",
    "\udc80",
]


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def keys(storage: Storage, prefix: str = "") -> set[str]:
    return {entry.key for entry in storage.scan(prefix)}


# Blobs.


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"one"],
        [b"one", b"", bytearray(b"two"), memoryview(b"three")],
        [bytes([n % 256]) for n in range(2500)],
        [b"a" * (3 * MEGABYTE + 1)],
        [memoryview(bytes(range(256)) * 8192).cast("d"), b"tail"],
    ],
    ids=["nothing", "empty", "one", "mixed", "many", "large", "doubles"],
)
def test_what_was_put_is_got_whole(open_storage: Open, parts: list[bytes]) -> None:
    storage = open_storage()
    assert storage.put("k", parts) is not None
    storage.flush()
    assert content(storage, "k") == b"".join(bytes(part) for part in parts)
    assert content(open_storage(), "k") == b"".join(bytes(part) for part in parts)


def test_a_missing_blob_is_none_and_no_error(storage: Storage) -> None:
    for key in ("k", "folder/k"):
        assert storage.get(key) is None
        assert storage.stamp(key) is None
        assert storage.head(key, 10) is None
        assert storage.delete(key) is False
    assert keys(storage) == set()


@pytest.mark.parametrize("size", [0, 1, 5, 10, 1000])
def test_head_is_at_most_the_first_bytes(storage: Storage, size: int) -> None:
    storage.put("k", [b"01234", b"56789"])
    head = storage.head("k", size)
    assert head == b"0123456789"[:size]
    assert isinstance(head, bytes)


def test_head_of_a_large_blob_is_its_first_bytes(storage: Storage) -> None:
    storage.put("k", [b"start", b"x" * (2 * MEGABYTE)])
    assert storage.head("k", 6) == b"startx"


def test_the_last_put_wins(open_storage: Open) -> None:
    storage = open_storage()
    for data in (b"first", b"second", b""):
        storage.put("k", [data])
        assert content(storage, "k") == data
    storage.flush()
    assert content(open_storage(), "k") == b""


def test_a_deleted_blob_is_gone_for_everybody(open_storage: Open) -> None:
    storage, other = open_storage(), open_storage()
    storage.put("folder/k", [b"data"])
    storage.flush()
    assert content(other, "folder/k") == b"data"
    assert storage.delete("folder/k") is True
    assert content(storage, "folder/k") is None
    assert content(other, "folder/k") is None
    assert storage.delete("folder/k") is False


def test_what_the_caller_does_to_his_buffer_after_put_changes_nothing(storage: Storage) -> None:
    buffer = bytearray(b"before")
    storage.put("k", [buffer])
    buffer[:] = b"after!"
    assert content(storage, "k") == b"before"


@pytest.mark.parametrize("size", [100, 3 * MEGABYTE])
def test_what_the_caller_does_to_the_blob_he_got_changes_nothing(open_storage: Open, size: int) -> None:
    storage = open_storage()
    storage.put("k", [b"a" * size])
    blob = storage.get("k")
    assert blob is not None
    view = memoryview(blob.data)
    if not view.readonly:
        view[:5] = b"wrong"
    storage.flush()
    assert content(storage, "k") == b"a" * size
    assert content(open_storage(), "k") == b"a" * size


@pytest.mark.parametrize("size", [100, 3 * MEGABYTE])
def test_a_blob_stays_what_it_was_when_it_is_replaced_and_deleted(storage: Storage, size: int) -> None:
    storage.put("k", [b"a" * size])
    blob = storage.get("k")
    assert blob is not None
    storage.put("k", [b"b" * size])
    storage.delete("k")
    assert bytes(blob.data) == b"a" * size


# Stamps.


def test_a_stamp_is_the_same_by_every_way_while_nothing_changes(open_storage: Open) -> None:
    storage = open_storage()
    put = storage.put("k", [b"data"])
    blob = storage.get("k")
    assert blob is not None
    assert put == storage.stamp("k") == blob.stamp
    assert isinstance(put, Stamp)
    storage.flush()
    blob = storage.get("k")
    assert blob is not None
    assert put == storage.stamp("k") == blob.stamp, "a write that is done keeps its stamp for the writer"
    other, again = open_storage(), open_storage()
    assert other.stamp("k") == again.stamp("k") is not None


def test_no_two_versions_share_a_stamp_however_fast_they_follow(storage: Storage) -> None:
    stamps = []
    for number in range(200):
        data = [b"%04d" % number]  # of one size, and the file system uses inodes again at once
        stamps.append(storage.put("k", data))
        assert storage.stamp("k") == stamps[-1]
    assert len(set(stamps)) == len(stamps)


def test_a_blob_that_was_deleted_and_put_again_has_a_new_stamp(storage: Storage) -> None:
    if not storage.coordinates:
        pytest.skip("its stamps may tell bytes apart, not writes")
    stamps = []
    for _ in range(20):
        stamps.append(storage.put("k", [b"data"]))
        storage.delete("k")
    assert len(set(stamps)) == len(stamps)


def test_others_see_a_refresh_by_its_stamp_and_content(open_storage: Open) -> None:
    mine, theirs = open_storage(), open_storage()
    mine.put("k", [b"old"])
    mine.flush()
    assert content(theirs, "k") == b"old"
    before = theirs.stamp("k")
    mine.put("k", [b"new"])
    mine.flush()
    assert theirs.stamp("k") != before
    assert content(theirs, "k") == b"new"


def test_touching_keeps_the_stamp_and_never_raises(storage: Storage) -> None:
    storage.put("k", [b"data"])
    stamp = storage.stamp("k")
    storage.touch("k")
    storage.touch("missing")
    storage.touch("folder/missing")
    assert storage.stamp("k") == stamp
    assert content(storage, "k") == b"data"


# Creating only.


def test_create_only_makes_what_is_missing_and_leaves_what_is_there(storage: Storage) -> None:
    assert storage.put("k", [b"first"], WriteMode.CREATE_ONLY) is not None
    assert storage.put("k", [b"second"], WriteMode.CREATE_ONLY) is None
    assert content(storage, "k") == b"first"
    storage.delete("k")
    assert storage.put("k", [b"third"], WriteMode.CREATE_ONLY) is not None
    assert content(storage, "k") == b"third"


def test_create_only_respects_what_was_put_before(storage: Storage) -> None:
    storage.put("folder/k", [b"put"])
    assert storage.put("folder/k", [b"created"], WriteMode.CREATE_ONLY) is None
    assert content(storage, "folder/k") == b"put"


# Groups.


def test_a_group_is_published_whole(open_storage: Open) -> None:
    storage = open_storage()
    storage.put("a", [b"old"])
    storage.publish([("a", [b"1", b"1"]), ("folder/b", [b"2"]), ("folder/deep/c", [])])
    storage.flush()
    for each in (storage, open_storage()):
        assert content(each, "a") == b"11"
        assert content(each, "folder/b") == b"2"
        assert content(each, "folder/deep/c") == b""
        assert keys(each) == {"a", "folder/b", "folder/deep/c"}


def test_a_group_may_be_empty_or_of_one_and_the_last_of_a_key_counts(storage: Storage) -> None:
    storage.publish([])
    storage.publish([("a", [b"1"])])
    storage.publish([("b", [b"1"]), ("c", [b"1"]), ("b", [b"2"])])
    assert {key: content(storage, key) for key in "abc"} == {"a": b"1", "b": b"2", "c": b"1"}


def test_groups_one_after_the_other_replace_each_other(storage: Storage) -> None:
    for number in range(5):
        storage.publish([(f"k{n}", [b"%d" % number]) for n in range(number + 2)])
        assert {content(storage, f"k{n}") for n in range(number + 2)} == {b"%d" % number}


def test_a_put_after_a_group_is_not_undone_by_it(storage: Storage) -> None:
    for number in range(20):
        storage.publish([("a", [b"group"]), ("b", [b"group"])])
        storage.put("a", [b"put %d" % number])
        storage.delete("b")
        storage.flush()
        assert content(storage, "a") == b"put %d" % number
        assert content(storage, "b") is None


def test_a_group_with_a_key_that_is_refused_changes_nothing(storage: Storage) -> None:
    storage.put("a", [b"old"])
    with pytest.raises(KeyPathError):
        storage.publish([("a", [b"new"]), ("b", [b"new"]), ("../c", [b"new"])])
    storage.flush()
    assert content(storage, "a") == b"old"
    assert keys(storage) == {"a"}


# Keys.


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_every_good_key_can_be_used(open_storage: Open, key: str) -> None:
    storage = open_storage()
    storage.put(key, [b"data"])
    storage.flush()
    assert content(open_storage(), key) == b"data"
    assert keys(storage) == {key}
    assert storage.delete(key) is True


def test_keys_that_look_alike_are_different_keys(storage: Storage) -> None:
    for key in GOOD_KEYS:
        storage.put(key, [key.encode()])
    for key in GOOD_KEYS:
        assert content(storage, key) == key.encode()
    assert keys(storage) == set(GOOD_KEYS)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_could_leave_the_store_is_refused_by_every_method(storage: Storage, key: str) -> None:
    for act in (
        lambda: storage.get(key),
        lambda: storage.stamp(key),
        lambda: storage.head(key, 1),
        lambda: storage.put(key, [b"x"]),
        lambda: storage.put(key, [b"x"], WriteMode.CREATE_ONLY),
        lambda: storage.publish([(key, [b"x"])]),
        lambda: storage.publish([("good", [b"x"]), (key, [b"x"])]),
        lambda: storage.delete(key),
    ):
        with pytest.raises(KeyPathError):
            act()
    storage.touch(key)
    storage.flush()
    assert keys(storage) == set()


# Listing.


def test_scan_tells_keys_sizes_and_times(open_storage: Open) -> None:
    storage = open_storage()
    before = time.time() - 5
    storage.put("a", [b"12345"])
    storage.put("folder/b", [])
    storage.flush()
    entries = {entry.key: entry for entry in open_storage().scan()}
    assert set(entries) == {"a", "folder/b"}
    assert isinstance(entries["a"], Entry)
    assert (entries["a"].size, entries["folder/b"].size) == (5, 0)
    for entry in entries.values():
        assert before < entry.modified < time.time() + 5
        assert entry.used >= entry.modified - 5


def test_scan_yields_what_starts_with_the_prefix(storage: Storage) -> None:
    names = ["ab", "abc", "b", "ab/c", "ab/d/e", "a/b", "A/b", "Ab"]
    for name in names:
        if name != "ab":
            storage.put(name, [b"x"])
    for prefix in ("", "a", "ab", "ab/", "ab/d/", "ab/d/e", "A", "nothing", "a/", "abc"):
        assert keys(storage, prefix) == {name for name in names if name != "ab" and name.startswith(prefix)}, prefix


def test_scan_yields_what_stays_while_others_come_and_go(storage: Storage) -> None:
    for number in range(40):
        storage.put(f"stays{number % 3}/k{number}", [b"x"])
        storage.put(f"goes{number % 3}/k{number}", [b"x"])
    storage.flush()
    seen = []
    for number, entry in enumerate(storage.scan()):
        seen.append(entry.key)
        storage.delete(f"goes{number % 3}/k{number}")
        storage.put(f"comes{number % 40}", [b"x"])
    stayed = [key for key in seen if key.startswith("stays")]
    assert sorted(stayed) == sorted(f"stays{number % 3}/k{number}" for number in range(40))


# Keeping house, and being one of many.


def test_sweeping_a_clean_store_finds_nothing(storage: Storage) -> None:
    storage.put("a", [b"x"])
    storage.publish([("b", [b"x"]), ("c", [b"x"])])
    storage.flush()
    assert sweep(storage) == SweepReport()
    assert keys(storage) == {"a", "b", "c"}


def test_two_objects_of_one_place_are_known_as_one(open_storage: Open) -> None:
    assert open_storage().identity == open_storage().identity


def test_a_pickled_storage_speaks_of_the_same_place(open_storage: Open) -> None:
    storage = open_storage()
    storage.put("k", [b"data"])
    storage.flush()
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.identity == storage.identity
    assert content(copy, "k") == b"data"
    copy.put("k", [b"other"])
    copy.flush()
    assert content(storage, "k") == b"other"
