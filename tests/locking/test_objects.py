"""Leases in an object store: one holder at a time, the dead succeeded, the late refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from flowstone.exceptions import ConfigurationError, LockError, StoreError
from flowstone.filesystems.objects import ObjectStorage
from flowstone.locking.objects import LOCKS, Lease, ObjectLeases, ObjectLockManager
from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager

LEASE = 60.0


class Hand:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process(SpaceLockManager):
    """A lock manager as another process would have it: same store, a table and a client of its own."""

    quick = False

    def __init__(self, storage: ObjectStorage, hand: Hand) -> None:
        self.client = storage.client
        self.leases = ObjectLeases(storage.client, storage.require_coordination, LEASE, hand)
        self.leases._keeper = SimpleNamespace(poke=lambda: None)  # type: ignore[assignment]  # renewed by hand
        self.space = LockSpace(self.leases, clock=hand)

    def try_lock(self, holder: str, key: str = "k") -> bool:
        return self.acquire_lock(key, holder, acquire_timeout=0)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def process(lab: Callable[..., ObjectStorage], hand: Hand) -> Callable[[], Process]:
    return lambda: Process(lab(), hand)


def test_one_process_at_a_time_has_a_lock(process: Callable[[], Process]) -> None:
    first, second = process(), process()
    assert first.try_lock("p")
    assert not second.try_lock("q")
    assert second.try_lock("q", "another key")
    assert second.is_locked("k")
    assert not second.is_lock_holder("k", "q")
    first.release_lock("k", "p")
    assert not second.is_locked("k")
    assert second.try_lock("q")
    assert not first.try_lock("p")


def test_locking_and_unlocking_cost_one_request_each(process: Callable[[], Process]) -> None:
    manager = process()
    manager.try_lock("p")
    assert manager.still_held("k", "p")
    manager.release_lock("k", "p")
    assert [doing for doing, _ in manager.client.requests] == ["create", "delete"]


def test_a_dead_holder_is_succeeded_after_one_lease_and_not_before(process: Callable[[], Process], hand: Hand) -> None:
    dead, heir = process(), process()
    assert dead.try_lock("p")
    hand.now += 500.0
    assert not heir.try_lock("q"), "only now it begins to watch"
    hand.now += LEASE - 1
    assert not heir.try_lock("q")
    hand.now += 1
    assert heir.try_lock("q")
    assert heir.still_held("k", "q")


def test_a_holder_that_renews_is_never_succeeded(process: Callable[[], Process], hand: Hand) -> None:
    living, other = process(), process()
    assert living.try_lock("p")
    for _ in range(40):
        assert not other.try_lock("q")
        hand.now += LEASE / 4
        living.leases.renew_all()
    assert living.still_held("k", "p")
    living.release_lock("k", "p")
    assert other.try_lock("q")


def test_the_keeper_asks_to_be_called_before_the_lease_is_due(process: Callable[[], Process], hand: Hand) -> None:
    manager = process()
    assert manager.leases.renew_all() is None
    manager.try_lock("p")
    assert manager.leases.renew_all() == LEASE / 3
    hand.now += LEASE / 3
    before = len(manager.client.requests)
    assert manager.leases.renew_all() == LEASE / 3
    assert len(manager.client.requests) == before + 1
    manager.release_lock("k", "p")
    assert manager.leases.renew_all() is None


def test_one_who_slept_through_its_lease_learns_of_it_and_disturbs_nobody(
    process: Callable[[], Process], hand: Hand
) -> None:
    sleeper, heir = process(), process()
    sleeper.try_lock("p")
    heir.try_lock("q")
    hand.now += LEASE
    assert heir.try_lock("q")
    assert not sleeper.still_held("k", "p")
    sleeper.leases.renew_all()
    with pytest.raises(LockError, match="lost"):
        sleeper.release_lock("k", "p")
    assert heir.still_held("k", "q")
    heir.release_lock("k", "q")


def test_one_who_slept_and_releases_without_asking_disturbs_nobody(process: Callable[[], Process], hand: Hand) -> None:
    sleeper, heir = process(), process()
    sleeper.try_lock("p")
    heir.try_lock("q")
    hand.now += LEASE
    assert heir.try_lock("q")
    with pytest.raises(LockError, match="lost"):
        sleeper.release_lock("k", "p")
    assert heir.still_held("k", "q")
    hand.now += LEASE / 5
    assert heir.still_held("k", "q"), "and the store says so too"


def test_one_who_slept_but_was_not_succeeded_gives_back_what_others_can_take_at_once(
    process: Callable[[], Process], hand: Hand
) -> None:
    sleeper, heir = process(), process()
    sleeper.try_lock("p")
    hand.now += LEASE * 10
    sleeper.release_lock("k", "p")
    assert not heir.is_locked("k")
    assert heir.try_lock("q")


def test_still_held_renews_so_that_a_whole_lease_is_left_for_what_follows(
    process: Callable[[], Process], hand: Hand
) -> None:
    holder, other = process(), process()
    holder.try_lock("p")
    other.try_lock("q")
    hand.now += LEASE - 1
    assert holder.still_held("k", "p")
    hand.now += LEASE - 1
    assert not other.try_lock("q")


def test_a_descendant_elsewhere_is_a_guest_as_long_as_its_ancestor_holds(
    process: Callable[[], Process], hand: Hand
) -> None:
    parent, child = process(), process()
    parent.try_lock("p")
    assert child.try_lock("p/c")
    assert child.still_held("k", "p/c")
    assert child.is_lock_holder("k", "p/c/d")
    child.release_lock("k", "p/c")
    assert parent.still_held("k", "p")
    assert child.try_lock("p/c")
    parent.release_lock("k", "p")
    assert not child.still_held("k", "p/c")


def test_a_lease_handed_over_shows_the_heir(process: Callable[[], Process]) -> None:
    here, there = process(), process()
    here.try_lock("p/c")
    assert not there.try_lock("p/d")
    here.hand_over_lock("k", "p/c", "p")
    assert there.try_lock("p/d")
    assert here.still_held("k", "p")


def test_an_answer_lost_on_its_way_back_loses_no_lock(process: Callable[[], Process], hand: Hand) -> None:
    manager, other = process(), process()
    manager.client.repeats = True
    assert manager.try_lock("p")
    hand.now += LEASE / 2
    assert manager.still_held("k", "p")
    hand.now += LEASE / 2
    manager.leases.renew_all()
    assert manager.still_held("k", "p")
    manager.release_lock("k", "p")
    assert other.try_lock("q")


def test_a_store_that_fails_is_an_error_and_not_a_no(process: Callable[[], Process], hand: Hand) -> None:
    manager, other = process(), process()
    manager.try_lock("p")

    def fail(number: int, doing: str, path: str) -> None:
        raise StoreError("the network is down")

    manager.client.before = other.client.before = fail
    hand.now += LEASE / 2
    assert manager.leases.renew_all() == 1.0, "the keeper tries again soon"
    with pytest.raises(LockError, match="network is down"):
        manager.still_held("k", "p")
    with pytest.raises(LockError, match="network is down"):
        other.try_lock("q")
    with pytest.raises(LockError, match="network is down"):
        other.is_locked("k")
    manager.client.before = lambda number, doing, path: None
    assert manager.still_held("k", "p")


def test_a_lease_that_cannot_be_read_holds_like_the_others(process: Callable[[], Process], hand: Hand) -> None:
    manager = process()
    manager.try_lock("p", "other")
    (path,) = [version.path for version in manager.client.list(LOCKS)]
    for damage in (b"", b"{", b"[]", b'{"holder": 1}', b"\xff\xfe"):
        manager.client.put(path, [damage])
        fresh = process()
        hand.now += 1
        if damage:
            assert Lease.decode(damage).seconds == LEASE
        assert not fresh.try_lock("q", "other")
        hand.now += LEASE
        assert fresh.try_lock("q", "other")


def test_any_string_is_a_key(process: Callable[[], Process]) -> None:
    manager = process()
    keys = ["a", "a/b", "../x", "", " ", "\0", "ä" * 2000, "v1.2", "v1.3", "\udc80"]
    assert all(manager.try_lock("p", key) for key in keys)
    assert len(list(manager.client.list(LOCKS))) == len(keys)


def test_a_manager_refuses_a_lease_shorter_than_a_race_may_last(s3_storage_offline: ObjectStorage) -> None:
    with pytest.raises(ConfigurationError, match="30"):
        ObjectLockManager(s3_storage_offline, lease=5.0)


def test_a_pickled_manager_is_the_same_manager(s3_storage_offline: ObjectStorage) -> None:
    manager = s3_storage_offline.natural_lock_manager()
    assert pickle.loads(pickle.dumps(manager)) == manager
    assert manager != ObjectStorage("s3://bucket/elsewhere", region="x").natural_lock_manager()


@pytest.fixture
def s3_storage_offline() -> ObjectStorage:
    pytest.importorskip("obstore")
    return ObjectStorage("s3://bucket/prefix", region="x", endpoint="http://127.0.0.1:1", timeout=0.2, retries=0)


# --- on a real server

WORKER = """
import sys, time
from flowstone.filesystems.objects import ObjectStorage
from flowstone.locking.objects import ObjectLeases
from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager

class Manager(SpaceLockManager):
    quick = False

options, prefix, name, lease, rounds = eval(sys.argv[1])
storage = ObjectStorage(f"s3://flowstone/{prefix}", **options)
manager = Manager()
manager.space = LockSpace(ObjectLeases(storage.client, storage.require_coordination, lease))
for turn in range(rounds):
    assert manager.acquire_lock("counter", name, acquire_timeout=60)
    if rounds == 1:
        print("held", flush=True)
        time.sleep(600)
    blob = storage.get("count")
    count = 0 if blob is None else int(bytes(blob.data))
    time.sleep(0.01)
    assert manager.still_held("counter", name)
    storage.put("count", [str(count + 1).encode()])
    manager.release_lock("counter", name)
"""


def worker(server: SimpleNamespace, prefix: str, name: str, lease: float, rounds: int) -> subprocess.Popen[str]:
    work = repr((server.options, prefix, name, lease, rounds))
    return subprocess.Popen([sys.executable, "-c", WORKER, work], stdout=subprocess.PIPE, text=True)


def test_processes_that_share_a_real_server_never_hold_a_lock_at_once(s3_server: SimpleNamespace) -> None:
    workers = [worker(s3_server, "locks-count", f"w{number}", 30.0, 8) for number in range(3)]
    assert [one.wait(60) for one in workers] == [0, 0, 0]
    blob = s3_server.storage("locks-count").get("count")
    assert bytes(blob.data) == b"24"


def test_a_killed_process_is_succeeded_on_a_real_server(s3_server: SimpleNamespace) -> None:
    holder = worker(s3_server, "locks-kill", "dead", 2.0, 1)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    storage = s3_server.storage("locks-kill")
    manager = SpaceLockManager.__new__(type("Manager", (SpaceLockManager,), {"quick": False}))
    manager.space = LockSpace(ObjectLeases(storage.client, storage.require_coordination, 2.0))
    assert not manager.acquire_lock("counter", "heir", acquire_timeout=3.0), "it lives, and renews"
    holder.kill()
    holder.wait()
    began = time.monotonic()
    assert manager.acquire_lock("counter", "heir", acquire_timeout=30.0)
    assert 1.0 < time.monotonic() - began < 10.0
    manager.release_lock("counter", "heir")
