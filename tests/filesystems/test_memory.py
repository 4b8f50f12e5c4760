"""The storage in memory: bounded, shared by name, never aliasing."""

from __future__ import annotations

import gc
import os
import pickle
import threading

import pytest

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems import MemoryFileSystem
from flowstone.filesystems.base import Storage, WriteMode
from flowstone.locking.memory import MemoryLockManager

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def keys(storage: Storage) -> set[str]:
    return {entry.key for entry in storage.scan()}


@pytest.fixture
def name() -> str:
    return f"test-{os.urandom(8).hex()}"


def test_objects_of_one_name_share_their_blobs_and_others_do_not(name: str) -> None:
    MemoryFileSystem(name).put("k", [b"data"])
    assert keys(MemoryFileSystem(name)) == {"k"}
    assert keys(MemoryFileSystem(name + "-other")) == set()
    assert keys(MemoryFileSystem()) == set()


def test_a_named_place_lives_on_when_nobody_holds_it_and_a_nameless_one_does_not(name: str) -> None:
    MemoryFileSystem(name).put("k", [b"data"])
    nameless = MemoryFileSystem()
    nameless.put("k", [b"data"])
    again = MemoryFileSystem(nameless.name)
    assert keys(again) == {"k"}
    own_name = nameless.name
    del nameless, again
    gc.collect()
    assert keys(MemoryFileSystem(name)) == {"k"}
    assert keys(MemoryFileSystem(own_name)) == set()


def test_the_least_recently_used_go_when_the_bound_is_reached(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=10_000)
    for number in range(5):
        storage.put(f"k{number}", [b"x" * 1500])
    storage.get("k0")
    storage.touch("k1")
    storage.put("k5", [b"x" * 1500])
    assert keys(storage) == {"k0", "k1", "k3", "k4", "k5"}


def test_many_small_blobs_are_bounded_too(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=10_000)
    for number in range(1000):
        storage.put(f"k{number}", [b""])
    assert 10 <= len(keys(storage)) <= 100


def test_a_blob_larger_than_the_bound_is_not_kept_and_throws_nothing_else_out(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=10_000)
    storage.put("a", [b"x"])
    storage.put("big", [b"old"])
    assert storage.put("big", [b"x" * 20_000]) is not None
    assert keys(storage) == {"a"}, "the old version must not stay"
    assert storage.put("big", [b"x" * 20_000], WriteMode.CREATE_ONLY) is not None


def test_a_group_larger_than_the_bound_is_not_kept_at_all(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=10_000)
    storage.put("a", [b"old"])
    storage.put("other", [b"x"])
    storage.publish([("a", [b"x" * 6000]), ("b", [b"x" * 6000])])
    assert keys(storage) == {"other"}
    storage.publish([("a", [b"x"]), ("b", [b"x" * 20_000])])
    assert keys(storage) == {"other"}
    storage.publish([("a", [b"x" * 4000]), ("b", [b"x" * 4000])])
    assert keys(storage) >= {"a", "b"}


def test_replacing_and_deleting_give_the_room_back(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=10_000)
    for _ in range(100):
        storage.put("a", [b"x" * 4000])
        storage.put("b", [b"x" * 4000])
        storage.delete("b")
    storage.put("b", [b"x" * 4000])
    assert keys(storage) == {"a", "b"}


def test_a_bound_given_later_holds_from_the_next_write(name: str) -> None:
    storage = MemoryFileSystem(name)
    for number in range(10):
        storage.put(f"k{number}", [b"x" * 1000])
    MemoryFileSystem(name, max_bytes=5000)
    assert storage.max_bytes == 5000
    storage.put("new", [b"x"])
    assert "new" in keys(storage)
    assert len(keys(storage)) <= 5


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="-1"):
        MemoryFileSystem(max_bytes=-1)


def test_no_bound_at_all_keeps_nothing(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=0)
    storage.put("k", [b""])
    assert keys(storage) == set()


def test_stamps_of_two_places_and_two_processes_never_equal(name: str) -> None:
    one, other = MemoryFileSystem(name), MemoryFileSystem()
    assert one.put("k", [b"x"]) != other.put("k", [b"x"])
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, pickle.dumps(one.put("k", [b"child"])))
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        theirs = pickle.load(file)
    os.waitpid(pid, 0)
    assert one.put("k", [b"parent"]) != theirs


def test_a_forked_child_has_a_copy_and_the_right_count(name: str) -> None:
    storage = MemoryFileSystem(name, max_bytes=10_000)
    storage.put("k", [b"x" * 5000])
    place = storage._place
    place.bytes = 123456  # as if the fork came in the middle of a change by another thread, which holds the lock
    place.lock.acquire()
    pid = os.fork()
    if not pid:
        storage.put("other", [b"x" * 4000])
        os._exit(0 if keys(storage) == {"k", "other"} else 1)
    place.lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert keys(storage) == {"k"}


def test_its_locks_exclude_threads(name: str) -> None:
    locks = MemoryFileSystem(name).natural_lock_manager()
    assert isinstance(locks, MemoryLockManager)
    assert locks.acquire_lock(name, "me")
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(locks.acquire_lock(name, "you", acquire_timeout=0.01)))
    thread.start()
    thread.join()
    locks.release_lock(name, "me")
    assert answers == [False]
