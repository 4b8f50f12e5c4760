"""What every lock manager owes its callers."""

from __future__ import annotations

import asyncio
import copy
import gc
import math
import pickle
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from flowstone.exceptions import ConfigurationError, DeadlockError, LockError, LockTimeout
from flowstone.locking.base import LockManager, held
from flowstone.locking.keeper import Keeper
from flowstone.locking.memory import MemoryLockManager

Start = Callable[..., Any]
Waiting = Callable[..., Any]
Eventually = Callable[..., bool]

NASTY_KEYS = [
    "v1.2",
    "v1.3",
    "a",
    "A",
    "a/b",
    "a//b",
    "../x",
    "/abs",
    "",
    ".",
    "\0",
    "a\0b",
    "ü",
    "\ud800",
    "k" * 5000,
    "*",
]


class TestHolding:
    def test_a_lock_excludes_strangers_until_it_is_released(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert not manager.acquire_lock("k", "b", 0)
        manager.release_lock("k", "a")
        assert manager.acquire_lock("k", "b", 0)
        manager.release_lock("k", "b")

    def test_a_holder_enters_again_and_each_entry_counts(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a", 0)
        manager.release_lock("k", "a")
        assert not manager.acquire_lock("k", "b", 0)
        manager.release_lock("k", "a")
        assert not manager.is_locked("k")

    def test_a_descendant_enters_what_its_ancestor_holds(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a/b/c", 0)
        manager.release_lock("k", "a/b/c")
        assert manager.is_lock_holder("k", "a")
        manager.release_lock("k", "a")

    def test_siblings_exclude_each_other(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a/b")
        assert not manager.acquire_lock("k", "a/c", 0)
        assert not manager.acquire_lock("k", "a/bb", 0)
        manager.release_lock("k", "a/b")

    def test_siblings_meet_in_what_their_parent_holds(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a/b", 0)
        assert manager.acquire_lock("k", "a/c", 0)
        for holder in ("a/b", "a/c", "a"):
            manager.release_lock("k", holder)

    def test_an_ancestor_waits_for_what_its_descendant_holds(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a/b")
        assert not manager.acquire_lock("k", "a", 0)
        manager.release_lock("k", "a/b")

    def test_the_lock_is_free_when_the_last_holder_goes_in_any_order(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a/b", 0)
        manager.release_lock("k", "a")
        assert not manager.acquire_lock("k", "x", 0)
        manager.release_lock("k", "a/b")
        assert not manager.is_locked("k")

    @pytest.mark.parametrize("holder", ["b", "a/b", "a/", ""])
    def test_only_a_holder_can_release(self, manager: LockManager, holder: str) -> None:
        assert manager.acquire_lock("k", "a")
        with pytest.raises(LockError, match="'k'"):
            manager.release_lock("k", holder)
        assert manager.is_lock_holder("k", "a")
        manager.release_lock("k", "a")

    def test_what_was_released_cannot_be_released_again(self, manager: LockManager) -> None:
        with pytest.raises(LockError):
            manager.release_lock("k", "a")
        assert manager.acquire_lock("k", "a")
        manager.release_lock("k", "a")
        with pytest.raises(LockError):
            manager.release_lock("k", "a")

    def test_discarding_gives_back_all_counts_or_nothing(self, manager: LockManager) -> None:
        manager.discard_lock("k", "a")
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a")
        manager.discard_lock("k", "b")
        assert manager.is_locked("k")
        manager.discard_lock("k", "a")
        assert not manager.is_locked("k")

    def test_keys_never_touch(self, manager: LockManager) -> None:
        for number, key in enumerate(NASTY_KEYS):
            assert manager.acquire_lock(key, str(number), 0), key
        for number, key in enumerate(NASTY_KEYS):
            assert manager.is_lock_holder(key, str(number))
            manager.release_lock(key, str(number))

    def test_instances_of_one_place_share_their_locks(self, kind: Any, manager: LockManager) -> None:
        other = kind.here()
        assert manager.acquire_lock("k", "a")
        assert not other.acquire_lock("k", "b", 0)
        assert other.acquire_lock("k", "a/b", 0)
        other.release_lock("k", "a/b")
        other.release_lock("k", "a")


class TestAsking:
    def test_a_lock_is_held_by_its_holder_and_the_tree_below(self, manager: LockManager) -> None:
        assert not manager.is_locked("k")
        assert not manager.is_lock_holder("k", "a/b")
        assert manager.acquire_lock("k", "a/b")
        assert manager.is_locked("k")
        assert manager.is_lock_holder("k", "a/b")
        assert manager.is_lock_holder("k", "a/b/c")
        assert not manager.is_lock_holder("k", "a")
        assert not manager.is_lock_holder("k", "a/c")
        manager.release_lock("k", "a/b")
        assert not manager.is_lock_holder("k", "a/b")

    def test_it_is_still_held_until_it_is_released(self, manager: LockManager) -> None:
        assert not manager.still_held("k", "a")
        assert manager.acquire_lock("k", "a")
        assert manager.still_held("k", "a")
        assert manager.still_held("k", "a/b")
        assert not manager.still_held("k", "b")
        manager.release_lock("k", "a")
        assert not manager.still_held("k", "a")


class TestTimeouts:
    def test_a_wait_ends_after_its_timeout(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        began = time.monotonic()
        assert not manager.acquire_lock("k", "b", 0.05)
        assert 0.04 < time.monotonic() - began < 5
        manager.release_lock("k", "a")

    def test_a_hold_lapses_after_its_timeout(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a", hold_timeout=0.1)
        assert not manager.acquire_lock("k", "b", 0)
        assert manager.acquire_lock("k", "b", 10)
        assert not manager.is_lock_holder("k", "a")
        assert not manager.still_held("k", "a")
        with pytest.raises(LockError):
            manager.release_lock("k", "a")
        manager.release_lock("k", "b")

    def test_a_lapsed_lock_is_free_without_anybody_asking(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a", hold_timeout=0.05)
        time.sleep(0.06)
        assert not manager.is_locked("k")

    def test_two_counts_last_as_long_as_the_longer_one(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a", hold_timeout=0.02)
        time.sleep(0.04)
        assert manager.is_lock_holder("k", "a")
        manager.release_lock("k", "a")
        manager.release_lock("k", "a")

    def test_a_limited_hold_that_nobody_can_end_is_not_taken(
        self, manager: LockManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if isinstance(manager, MemoryLockManager):
            return  # nobody else has to be told that it lapsed

        def refuse(keeper: Keeper, **_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "poke", refuse)
            with pytest.raises(RuntimeError, match="thread"):
                manager.acquire_lock("k", "a", hold_timeout=10)
        assert not manager.is_locked("k")

    @pytest.mark.parametrize("seconds", [-1, -0.001, math.nan, "1", True])
    def test_a_timeout_is_a_number_of_seconds(self, manager: LockManager, seconds: Any) -> None:
        with pytest.raises(ConfigurationError, match="acquire_timeout"):
            manager.acquire_lock("k", "a", seconds)
        with pytest.raises(ConfigurationError, match="hold_timeout"):
            manager.acquire_lock("k", "a", None, seconds)
        with pytest.raises(ConfigurationError, match="timeout"):
            manager.wait_for_lock("k", seconds)
        assert not manager.is_locked("k")

    def test_infinity_is_no_timeout(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a", math.inf, math.inf)
        manager.release_lock("k", "a")

    def test_a_hold_of_no_time_is_refused(self, manager: LockManager) -> None:
        with pytest.raises(ConfigurationError, match="hold_timeout"):
            manager.acquire_lock("k", "a", hold_timeout=0)

    @pytest.mark.parametrize("holder", ["", None, 3])
    def test_a_holder_is_a_name(self, manager: LockManager, holder: Any) -> None:
        with pytest.raises(ConfigurationError, match="name"):
            manager.acquire_lock("k", holder)


class TestWaiting:
    def test_a_waiter_gets_the_lock_when_it_is_released(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "a")
        waiter = waiting(manager, "k", "b")
        assert waiter.running
        manager.release_lock("k", "a")
        assert waiter.result()
        manager.release_lock("k", "b")

    def test_first_come_first_served(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "z")
        names = ["a", "b", "c", "d"]
        waiters = [waiting(manager, "k", name) for name in names]
        manager.release_lock("k", "z")
        for place, (name, waiter) in enumerate(zip(names, waiters)):
            assert waiter.result()
            assert all(later.running for later in waiters[place + 1 :])
            manager.release_lock("k", name)

    def test_family_goes_past_the_line(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "a")
        stranger = waiting(manager, "k", "x")
        assert manager.acquire_lock("k", "a/b", 0)
        manager.release_lock("k", "a/b")
        manager.release_lock("k", "a")
        assert stranger.result()
        manager.release_lock("k", "x")

    def test_waiting_for_a_lock_takes_nothing(self, manager: LockManager, start: Start) -> None:
        assert manager.wait_for_lock("k", 0)
        assert manager.acquire_lock("k", "a")
        assert not manager.wait_for_lock("k", 0)
        assert not manager.wait_for_lock("k", 0.02)
        watcher = start(manager.wait_for_lock, "k")
        time.sleep(0.02)
        assert watcher.running
        manager.release_lock("k", "a")
        assert watcher.result()
        assert not manager.is_locked("k")

    def test_waiting_for_a_lock_ends_when_it_lapses(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a", hold_timeout=0.05)
        assert manager.wait_for_lock("k", 10)

    def test_an_interrupted_wait_leaves_nothing(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "a")
        interrupted = manager.acquiring("k", "b", None, None)
        next(interrupted)
        behind = waiting(manager, "k", "c")
        with pytest.raises(KeyboardInterrupt):
            interrupted.throw(KeyboardInterrupt)
        manager.release_lock("k", "a")
        assert behind.result()
        manager.release_lock("k", "c")

    def test_an_interrupt_between_release_and_waking_passes_the_lock_on(
        self, manager: LockManager, waiting: Waiting
    ) -> None:
        assert manager.acquire_lock("k", "a")
        interrupted = manager.acquiring("k", "b", None, None)
        next(interrupted)
        behind = waiting(manager, "k", "c")
        manager.release_lock("k", "a")  # it is the turn of "b", who never looks
        with pytest.raises(KeyboardInterrupt):
            interrupted.throw(KeyboardInterrupt)
        assert behind.result()
        manager.release_lock("k", "c")

    def test_a_forgotten_wait_leaves_nothing(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "a")
        forgotten = manager.acquiring("k", "b", None, None)
        watching = manager.watching("k", None)
        next(forgotten)
        next(watching)
        behind = waiting(manager, "k", "c")
        del forgotten, watching
        gc.collect()
        manager.release_lock("k", "a")
        assert behind.result()
        manager.release_lock("k", "c")


class TestHandingOver:
    def test_the_heir_holds_all_that_its_descendant_had(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a/b/c")
        assert manager.acquire_lock("k", "a/b/c")
        manager.hand_over_lock("k", "a/b/c", "a")
        assert manager.is_lock_holder("k", "a")
        with pytest.raises(LockError):
            manager.release_lock("k", "a/b/c")
        manager.release_lock("k", "a")
        assert manager.is_locked("k")
        manager.release_lock("k", "a")
        assert not manager.is_locked("k")

    def test_a_waiting_sibling_comes_in_before_strangers(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "a/b")
        stranger = waiting(manager, "k", "x")
        sibling = waiting(manager, "k", "a/c")
        manager.hand_over_lock("k", "a/b", "a")
        assert sibling.result()
        assert stranger.running
        manager.release_lock("k", "a/c")
        manager.release_lock("k", "a")
        assert stranger.result()
        manager.release_lock("k", "x")

    def test_it_adds_to_what_the_heir_has(self, manager: LockManager) -> None:
        assert manager.acquire_lock("k", "a")
        assert manager.acquire_lock("k", "a/b")
        manager.hand_over_lock("k", "a/b", "a")
        manager.release_lock("k", "a")
        assert manager.is_locked("k")
        manager.release_lock("k", "a")

    def test_only_what_is_held_is_handed_over(self, manager: LockManager) -> None:
        with pytest.raises(LockError):
            manager.hand_over_lock("k", "a/b", "a")
        assert manager.acquire_lock("k", "a/b")
        with pytest.raises(LockError):
            manager.hand_over_lock("k", "a/b/c", "a")  # it may enter, but holds nothing itself
        assert not manager.is_lock_holder("k", "a")
        manager.release_lock("k", "a/b")

    @pytest.mark.parametrize("heir", ["a/b/c", "a/c", "b", "a/bb"])
    def test_only_an_ancestor_can_be_the_heir(self, manager: LockManager, heir: str) -> None:
        assert manager.acquire_lock("k", "a/b")
        with pytest.raises(ConfigurationError, match="ancestor"):
            manager.hand_over_lock("k", "a/b", heir)
        manager.release_lock("k", "a/b")


class TestCircles:
    def test_a_circle_of_two_is_refused_with_names_and_keys(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k1", "a")
        assert manager.acquire_lock("k2", "b")
        first = waiting(manager, "k2", "a")
        with pytest.raises(DeadlockError) as refusal:
            manager.acquire_lock("k1", "b")
        for name in ("'a'", "'b'", "'k1'", "'k2'"):
            assert name in str(refusal.value)
        manager.release_lock("k2", "b")
        assert first.result()
        manager.release_lock("k1", "a")
        manager.release_lock("k2", "a")

    def test_a_circle_through_children_is_refused(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k1", "a")
        assert manager.acquire_lock("k2", "b/1")
        first = waiting(manager, "k2", "a/1/x")
        with pytest.raises(DeadlockError):
            manager.acquire_lock("k1", "b/1/y")
        manager.release_lock("k2", "b/1")
        assert first.result()
        manager.release_lock("k2", "a/1/x")
        manager.release_lock("k1", "a")

    def test_siblings_of_one_tree_can_make_a_circle(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k1", "a/1")
        assert manager.acquire_lock("k2", "a/2")
        first = waiting(manager, "k2", "a/1")
        with pytest.raises(DeadlockError):
            manager.acquire_lock("k1", "a/2")
        manager.release_lock("k2", "a/2")
        assert first.result()
        manager.release_lock("k2", "a/1")
        manager.release_lock("k1", "a/1")

    def test_a_circle_of_four_is_refused(self, manager: LockManager, waiting: Waiting) -> None:
        names = ["a", "b", "c", "d"]
        for name in names:
            assert manager.acquire_lock(name, name)
        waiters = [waiting(manager, after, name) for name, after in pairwise(names)]
        with pytest.raises(DeadlockError):
            manager.acquire_lock("a", "d")
        manager.release_lock("d", "d")
        for waiter, after, name in reversed(list(zip(waiters, names[1:], names))):
            assert waiter.result()
            manager.release_lock(after, name)
            manager.release_lock(name, name)

    def test_a_circle_through_another_manager_is_refused(self, manager: LockManager, waiting: Waiting) -> None:
        other = MemoryLockManager()
        assert manager.acquire_lock("here", "a")
        assert other.acquire_lock("there", "b")
        first = waiting(other, "there", "a")
        with pytest.raises(DeadlockError, match="there"):
            manager.acquire_lock("here", "b")
        other.release_lock("there", "b")
        assert first.result()
        other.release_lock("there", "a")
        manager.release_lock("here", "a")

    def test_one_who_tries_once_never_makes_a_circle(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k1", "a")
        assert manager.acquire_lock("k2", "b")
        first = waiting(manager, "k2", "a")
        assert not manager.acquire_lock("k1", "b", 0)
        manager.release_lock("k2", "b")
        assert first.result()
        manager.release_lock("k1", "a")
        manager.release_lock("k2", "a")

    def test_a_hold_that_lapses_never_makes_a_circle(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k1", "a", hold_timeout=0.2)
        assert manager.acquire_lock("k2", "b")
        first = waiting(manager, "k2", "a")
        assert manager.acquire_lock("k1", "b", 10)
        manager.release_lock("k2", "b")
        manager.release_lock("k1", "b")
        assert first.result()
        manager.release_lock("k2", "a")

    def test_a_line_is_no_circle(self, manager: LockManager, waiting: Waiting) -> None:
        assert manager.acquire_lock("k", "a")
        waiters = [waiting(manager, "k", name) for name in ("b", "c")]
        manager.release_lock("k", "a")
        for name, waiter in zip(("b", "c"), waiters):
            assert waiter.result()
            manager.release_lock("k", name)


class TestOnAnEventLoop:
    def test_coroutines_exclude_each_other(self, manager: LockManager) -> None:
        inside = 0
        rounds = 0

        async def work(name: str) -> None:
            nonlocal inside, rounds
            for _ in range(5):
                assert await manager.aacquire_lock("k", name)
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1
                rounds += 1
                await manager.arelease_lock("k", name)

        async def main() -> None:
            await asyncio.gather(*(work(f"w{number}") for number in range(6)))

        asyncio.run(asyncio.wait_for(main(), 30))
        assert rounds == 30

    def test_waiting_coroutines_occupy_no_threads(self, manager: LockManager, eventually: Eventually) -> None:
        async def main() -> None:
            assert await manager.aacquire_lock("k", "a")
            waiters = [asyncio.create_task(manager.aacquire_lock("k", f"w{number}")) for number in range(40)]
            await asyncio.sleep(0.1)
            waiting_threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
            assert len(waiting_threads) <= before + 1  # and at most one that renews leases
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
            await manager.arelease_lock("k", "a")

        before = threading.active_count()
        asyncio.run(asyncio.wait_for(main(), 30))

    def test_a_cancelled_wait_leaves_nothing(self, manager: LockManager) -> None:
        async def main() -> None:
            assert await manager.aacquire_lock("k", "a")
            waiter = asyncio.create_task(manager.aacquire_lock("k", "b"))
            behind = asyncio.create_task(manager.aacquire_lock("k", "c"))
            await asyncio.sleep(0.05)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            await manager.arelease_lock("k", "a")
            assert await behind
            assert not manager.is_lock_holder("k", "b")
            await manager.arelease_lock("k", "c")

        asyncio.run(asyncio.wait_for(main(), 30))

    def test_a_cancellation_as_the_lock_comes_leaves_nothing(self, manager: LockManager) -> None:
        async def main() -> None:
            assert await manager.aacquire_lock("k", "a")
            waiter = asyncio.create_task(manager.aacquire_lock("k", "b"))
            await asyncio.sleep(0.05)
            manager.release_lock("k", "a")
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert not manager.is_locked("k")

        asyncio.run(asyncio.wait_for(main(), 30))

    def test_a_thread_wakes_a_coroutine_and_the_other_way_round(self, manager: LockManager, start: Start) -> None:
        async def main() -> None:
            assert manager.acquire_lock("k", "thread")
            waiter = asyncio.create_task(manager.aacquire_lock("k", "coroutine"))
            await asyncio.sleep(0.02)
            await asyncio.to_thread(manager.release_lock, "k", "thread")
            assert await waiter
            thread = start(manager.acquire_lock, "k", "thread")
            await asyncio.sleep(0.02)
            assert thread.running
            await manager.arelease_lock("k", "coroutine")
            assert await asyncio.to_thread(thread.result)
            manager.release_lock("k", "thread")

        asyncio.run(asyncio.wait_for(main(), 30))

    def test_timeouts_and_circles_are_the_same(self, manager: LockManager) -> None:
        async def main() -> None:
            assert await manager.aacquire_lock("k1", "a")
            assert await manager.aacquire_lock("k2", "b")
            assert not await manager.aacquire_lock("k1", "b", 0.02)
            assert not await manager.await_for_lock("k1", 0.02)
            first = asyncio.create_task(manager.aacquire_lock("k2", "a"))
            await asyncio.sleep(0.05)
            with pytest.raises(DeadlockError):
                await manager.aacquire_lock("k1", "b")
            await manager.arelease_lock("k2", "b")
            assert await first
            await manager.arelease_lock("k1", "a")
            await manager.arelease_lock("k2", "a")
            assert await manager.await_for_lock("k1", 0)

        asyncio.run(asyncio.wait_for(main(), 30))


class TestBlocks:
    def test_a_block_holds_the_lock(self, manager: LockManager) -> None:
        with held(manager, "k", "a"):
            assert manager.is_lock_holder("k", "a")
        assert not manager.is_locked("k")

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
    def test_a_block_that_raises_gives_the_lock_back(self, manager: LockManager, error: type[BaseException]) -> None:
        with pytest.raises(error):
            with held(manager, "k", "a"):
                raise error
        assert not manager.is_locked("k")

    def test_a_block_that_cannot_begin_raises(self, manager: LockManager) -> None:
        with held(manager, "k", "a"):
            with pytest.raises(LockTimeout, match="'k'"):
                with held(manager, "k", "b", 0.01):
                    pass

    def test_a_block_learns_that_its_lock_lapsed(self, manager: LockManager) -> None:
        with pytest.raises(LockError, match="'k'"):
            with held(manager, "k", "a", hold_timeout=0.01):
                time.sleep(0.03)
        with pytest.raises(ValueError):
            with held(manager, "k", "a", hold_timeout=0.01):
                time.sleep(0.03)
                raise ValueError

    def test_an_async_block_is_the_same(self, manager: LockManager) -> None:
        async def main() -> None:
            async with held(manager, "k", "a"):
                assert manager.is_lock_holder("k", "a")
                with pytest.raises(LockTimeout):
                    async with held(manager, "k", "b", 0.01):
                        pass
            assert not manager.is_locked("k")
            with pytest.raises(ValueError):
                async with held(manager, "k", "a"):
                    raise ValueError
            assert not manager.is_locked("k")

        asyncio.run(asyncio.wait_for(main(), 30))


class TestManagersAsValues:
    def test_copies_are_equal_and_share_their_locks(self, manager: LockManager) -> None:
        for other in (copy.copy(manager), copy.deepcopy(manager), pickle.loads(pickle.dumps(manager))):
            assert other == manager
            assert hash(other) == hash(manager)
            with held(manager, "k", "a"):
                assert other.is_lock_holder("k", "a")

    def test_a_manager_tells_what_it_is(self, manager: LockManager) -> None:
        assert repr(manager).startswith(type(manager).__name__ + "(")


class TestAcrossProcesses:
    """`elsewhere` is a manager as another process would have it."""

    def test_another_process_is_excluded(self, wide_kind: Any) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a")
        assert elsewhere.is_locked("k")
        assert not elsewhere.acquire_lock("k", "b", 0)
        assert not elsewhere.acquire_lock("k", "b", 0.02)
        with pytest.raises(LockError):
            elsewhere.release_lock("k", "a")
        here.release_lock("k", "a")
        assert not elsewhere.is_locked("k")
        assert elsewhere.acquire_lock("k", "b", 0)
        assert not here.acquire_lock("k", "a", 0)
        elsewhere.release_lock("k", "b")

    def test_a_waiter_elsewhere_gets_the_lock_soon(self, wide_kind: Any, waiting: Waiting) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a")
        waiter = waiting(elsewhere, "k", "b")
        here.release_lock("k", "a")
        assert waiter.result()
        elsewhere.release_lock("k", "b")

    def test_watchers_elsewhere_see_it_freed(self, wide_kind: Any, start: Start) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a")
        assert not elsewhere.wait_for_lock("k", 0.02)
        watcher = start(elsewhere.wait_for_lock, "k")
        here.release_lock("k", "a")
        assert watcher.result()

    def test_a_holder_is_known_everywhere(self, wide_kind: Any) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a/b")
        assert elsewhere.is_lock_holder("k", "a/b")
        assert elsewhere.is_lock_holder("k", "a/b/c")
        assert not elsewhere.is_lock_holder("k", "a")
        with pytest.raises(LockError):
            here.hand_over_lock("k", "a/b/c", "a")
        assert not elsewhere.is_lock_holder("k", "a")
        here.hand_over_lock("k", "a/b", "a")
        assert elsewhere.is_lock_holder("k", "a/c")
        assert here.acquire_lock("k", "a/d/e")
        here.hand_over_lock("k", "a/d/e", "a/d")
        assert elsewhere.is_lock_holder("k", "a/c")
        here.release_lock("k", "a/d")
        here.release_lock("k", "a")
        assert not elsewhere.is_lock_holder("k", "a/c")

    def test_descendants_elsewhere_are_guests(self, wide_kind: Any) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a")
        assert elsewhere.acquire_lock("k", "a/b", 0)
        assert elsewhere.acquire_lock("k", "a/c", 0)
        assert not elsewhere.acquire_lock("k", "x", 0)
        assert elsewhere.still_held("k", "a/b")
        elsewhere.release_lock("k", "a/b")
        elsewhere.release_lock("k", "a/c")
        assert here.still_held("k", "a")
        here.release_lock("k", "a")

    def test_a_guest_learns_that_its_host_has_gone(self, wide_kind: Any) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a")
        assert elsewhere.acquire_lock("k", "a/b", 0)
        here.release_lock("k", "a")
        assert not elsewhere.still_held("k", "a/b")
        assert here.acquire_lock("k", "x", 0)
        assert not elsewhere.still_held("k", "a/b")
        elsewhere.release_lock("k", "a/b")
        here.release_lock("k", "x")

    def test_a_guest_does_not_stand_behind_strangers(self, wide_kind: Any, waiting: Waiting) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a/b")
        stranger = waiting(elsewhere, "k", "x")
        sibling = waiting(elsewhere, "k", "a/c")
        here.hand_over_lock("k", "a/b", "a")
        assert sibling.result()
        assert stranger.running
        elsewhere.release_lock("k", "a/c")
        here.release_lock("k", "a")
        assert stranger.result()
        elsewhere.release_lock("k", "x")

    def test_a_hold_lapses_for_others_without_anybody_asking(self, wide_kind: Any) -> None:
        here, elsewhere = wide_kind.here(), wide_kind.elsewhere()
        assert here.acquire_lock("k", "a", hold_timeout=0.1)
        assert elsewhere.acquire_lock("k", "b", 10)
        elsewhere.release_lock("k", "b")
