"""Leases in Redis: they end with their process, and who lost one learns of it."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flowstone.exceptions import ConfigurationError, LockError
from flowstone.locking.base import held
from flowstone.locking.keeper import Keeper
from flowstone.locking.redis import LeaseServer, RedisLockManager

Processes = Callable[..., list[Any]]
Eventually = Callable[..., bool]

LEASE = 1.0


@pytest.fixture
def team(processes: Processes, redis_server: Any) -> Callable[[int], list[Any]]:
    return lambda number: processes(number, kind="redis", port=redis_server.port, lease=LEASE)


@pytest.fixture
def manager(redis_server: Any) -> RedisLockManager:
    return RedisLockManager(port=redis_server.port, lease=LEASE)


@pytest.fixture
def client(redis_server: Any) -> Any:
    import redis

    return redis.Redis(port=redis_server.port)


class TestLeases:
    def test_a_killed_holder_is_succeeded_within_one_lease_by_exactly_one(
        self, processes: Processes, redis_server: Any
    ) -> None:
        lease = 3.0
        holder, *others = processes(3, kind="redis", port=redis_server.port, lease=lease)
        assert holder.do("acquire_lock", "k", "h")
        for number, other in enumerate(others):
            assert other.do("is_locked", "k")
            other.tell("acquire_lock", "k", f"w{number}")
        time.sleep(0.5)
        assert holder.do("still_held", "k", "h")  # the lease is as long as can be
        killed = holder.kill()
        deadline = killed + 10 * lease
        while not (inside := [other for other in others if not other.silent(0.01)]):
            assert time.monotonic() < deadline
        time.sleep(0.2)
        assert [other for other in others if not other.silent(0)] == inside
        ((value, at),) = [other.hear() for other in inside]
        assert value
        assert at - killed < lease

    def test_a_living_holder_keeps_its_lock_beyond_its_lease(self, team: Callable[[int], list[Any]]) -> None:
        holder, other = team(2)
        assert holder.do("acquire_lock", "k", "h")
        assert not other.do("acquire_lock", "k", "o", 2.5 * LEASE)
        assert holder.do("still_held", "k", "h")

    def test_a_paused_holder_cannot_publish_over_its_successor(self, team: Callable[[int], list[Any]]) -> None:
        holder, successor = team(2)
        assert holder.do("acquire_lock", "k", "h")
        old = holder.do("fencing_token", "k", "h")
        holder.stop()
        assert successor.do("acquire_lock", "k", "s", 10 * LEASE)
        new = successor.do("fencing_token", "k", "s")
        assert new > old
        holder.go_on()
        assert not holder.do("still_held", "k", "h")
        assert not holder.do("check_fencing", "k", old)
        with pytest.raises(Exception, match="LockError"):
            holder.do("release_lock", "k", "h")
        assert successor.do("still_held", "k", "s")
        assert successor.do("check_fencing", "k", new)
        successor.do("release_lock", "k", "s")
        assert holder.do("acquire_lock", "k", "h", 0)

    def test_asking_before_publishing_renews_the_lease(self, manager: RedisLockManager, client: Any) -> None:
        with held(manager, "k", "a"):
            lock = b"{flowstone}:lock:k"
            client.pexpire(lock, 200)
            assert manager.still_held("k", "a")
            assert client.pttl(lock) > 200

    def test_the_heart_stops_when_nothing_is_held(self, manager: RedisLockManager, eventually: Eventually) -> None:
        assert manager.acquire_lock("k", "a")
        assert any(thread.name == "flowstone-lock-leases" for thread in threading.enumerate())
        manager.release_lock("k", "a")
        assert eventually(lambda: not any(t.name == "flowstone-lock-leases" for t in threading.enumerate()))

    def test_the_heart_does_not_stop_and_start_with_every_lock(
        self, redis_server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager = RedisLockManager(port=redis_server.port, lease=9)
        started: list[threading.Thread] = []
        start = threading.Thread.start

        def noted(thread: threading.Thread) -> None:
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", noted)
        for _ in range(20):
            with held(manager, "k", "a"):
                pass
            time.sleep(0.002)
        assert len(started) == 1

    def test_nothing_is_left_on_the_server_but_one_counter(self, manager: RedisLockManager, client: Any) -> None:
        for number in range(20):
            with held(manager, f"key {number}", "a"):
                pass
        assert client.keys("*") == [b"{flowstone}:fence"]


class TestFencing:
    def test_each_tenure_has_a_greater_token(self, manager: RedisLockManager) -> None:
        tokens = []
        for key in ("k", "k", "other", "k"):
            with held(manager, key, "a"):
                tokens.append(manager.fencing_token(key, "a"))
                assert manager.fencing_token(key, "a/b") == tokens[-1]
                assert manager.check_fencing(key, tokens[-1])
            assert not manager.check_fencing(key, tokens[-1])
        assert tokens == sorted(set(tokens))

    def test_tokens_grow_also_when_the_server_forgets(self, manager: RedisLockManager, client: Any) -> None:
        with held(manager, "k", "a"):
            before = manager.fencing_token("k", "a")
        client.flushall()
        with held(manager, "k", "a"):
            assert manager.fencing_token("k", "a") > before

    def test_only_a_holder_has_a_token(self, manager: RedisLockManager) -> None:
        with pytest.raises(LockError, match="'k'"):
            manager.fencing_token("k", "a")


def test_an_event_loop_never_waits_for_the_server(manager: RedisLockManager, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[int] = set()
    run = LeaseServer._run

    def noted(self: LeaseServer, *arguments: Any) -> Any:
        asked.add(threading.get_ident())
        return run(self, *arguments)

    async def main() -> None:
        async with held(manager, "k", "a"):
            assert not await manager.aacquire_lock("k", "b", 0.02)

    monkeypatch.setattr(LeaseServer, "_run", noted)
    asyncio.run(main())
    assert asked
    assert threading.get_ident() not in asked


class TestTrouble:
    def test_a_holder_learns_that_the_server_forgot_its_lock(self, manager: RedisLockManager, client: Any) -> None:
        assert manager.acquire_lock("k", "a")
        client.flushall()
        assert not manager.still_held("k", "a")
        with pytest.raises(LockError, match="lost"):
            manager.release_lock("k", "a")
        assert not manager.space.table.entries

    def test_an_inheritance_that_was_lost_is_an_error(self, manager: RedisLockManager, client: Any) -> None:
        assert manager.acquire_lock("k", "a/b")
        client.flushall()
        with pytest.raises(LockError, match="run out"):
            manager.hand_over_lock("k", "a/b", "a")
        manager.discard_lock("k", "a/b")

    def test_a_dead_server_is_an_error_and_never_a_no(self, own_redis_server: Any) -> None:
        manager = RedisLockManager(port=own_redis_server.port, lease=LEASE)
        assert manager.acquire_lock("k", "a")
        own_redis_server.kill()
        calls: list[Callable[[], object]] = [
            lambda: manager.acquire_lock("k2", "a", 0),
            lambda: manager.is_locked("k2"),
            lambda: manager.is_lock_holder("k", "b"),
            lambda: manager.still_held("k", "a"),
            lambda: manager.check_fencing("k", 1),
            lambda: manager.release_lock("k", "a"),
        ]
        for call in calls:
            with pytest.raises(LockError, match=f"127.0.0.1:{own_redis_server.port}"):
                call()
        assert not manager.space.table.entries

    def test_a_hanging_server_is_an_error_within_a_lease_or_two(self, own_redis_server: Any) -> None:
        manager = RedisLockManager(port=own_redis_server.port, lease=0.3)
        assert not manager.is_locked("k")
        own_redis_server.stop()
        began = time.monotonic()
        with pytest.raises(LockError):
            manager.acquire_lock("k", "a")
        assert time.monotonic() - began < 5
        own_redis_server.go_on()
        assert manager.acquire_lock("k", "b", 10)
        manager.release_lock("k", "b")

    def test_a_server_that_was_away_for_a_moment_costs_no_lock(self, own_redis_server: Any) -> None:
        manager = RedisLockManager(port=own_redis_server.port, lease=2)
        assert manager.acquire_lock("k", "a")
        own_redis_server.stop()
        time.sleep(1)
        own_redis_server.go_on()
        time.sleep(1)
        assert manager.still_held("k", "a")
        manager.release_lock("k", "a")

    def test_an_answer_that_got_lost_takes_nothing_for_ever(
        self, manager: RedisLockManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from redis.exceptions import ConnectionError as Lost

        from flowstone.locking import redis_scripts

        run = LeaseServer._run

        def deaf(self: LeaseServer, script: str, *arguments: Any) -> Any:
            answer = run(self, script, *arguments)
            if script is redis_scripts.TAKE:
                raise Lost("connection reset")
            return answer

        monkeypatch.setattr(LeaseServer, "_run", deaf)
        with pytest.raises(LockError, match="connection reset"):
            manager.acquire_lock("k", "a")
        monkeypatch.undo()
        assert manager.acquire_lock("k", "b", 0)
        manager.release_lock("k", "b")

    def test_a_lease_that_nobody_can_renew_is_not_taken(
        self, manager: RedisLockManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(keeper: Keeper, **_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "poke", refuse)
            with pytest.raises(RuntimeError, match="thread"):
                manager.acquire_lock("k", "a")
        assert not manager.is_locked("k")
        assert not manager.space.table.entries
        with held(manager, "k", "a"):
            assert manager.still_held("k", "a")

    def test_a_repeated_question_gets_the_same_answer(
        self, manager: RedisLockManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = LeaseServer._run

        def twice(self: LeaseServer, *arguments: Any) -> Any:
            run(self, *arguments)  # its answer got lost, so the client asks again
            return run(self, *arguments)

        monkeypatch.setattr(LeaseServer, "_run", twice)
        assert manager.acquire_lock("k", "a", 0)
        assert manager.still_held("k", "a")
        monkeypatch.undo()
        manager.release_lock("k", "a")
        assert not manager.is_locked("k")


class TestArguments:
    @pytest.mark.parametrize("lease", [0, -1, 0.05, float("nan"), float("inf"), "1"])
    def test_a_lease_is_a_number_of_seconds(self, lease: Any) -> None:
        with pytest.raises(ConfigurationError, match="lease"):
            RedisLockManager(lease=lease)

    def test_a_url_a_host_and_a_client_lead_to_the_same_locks(self, redis_server: Any, client: Any) -> None:
        import redis

        texts = redis.Redis(port=redis_server.port, decode_responses=True)
        managers = [
            RedisLockManager(port=redis_server.port),
            RedisLockManager(url=redis_server.url),
            RedisLockManager(client=client),
            RedisLockManager(client=texts),
        ]
        assert len({manager.space for manager in managers}) == 4
        for manager in managers:
            with held(manager, "k", "a"):
                for other in managers:
                    assert other.is_locked("k")
                    assert other.is_lock_holder("k", "a/b")
                    assert other.check_fencing("k", manager.fencing_token("k", "a"))
                    if other is not manager:
                        assert not other.acquire_lock("k", "x", 0)

    def test_managers_with_equal_arguments_are_equal(self, redis_server: Any, client: Any) -> None:
        assert RedisLockManager(port=redis_server.port) == RedisLockManager(port=redis_server.port)
        assert RedisLockManager(port=redis_server.port) != RedisLockManager(port=redis_server.port, lease=3)
        assert RedisLockManager(client=client) == RedisLockManager(client=client)

    def test_no_password_is_told(self) -> None:
        for manager in (RedisLockManager(password="hush"), RedisLockManager(url="redis://me:hush@127.0.0.1:1/0")):
            assert "hush" not in repr(manager)
            assert "127.0.0.1" in repr(manager)
        manager = RedisLockManager(url="redis://me:hush@127.0.0.1:1/0", lease=0.1)
        with pytest.raises(LockError) as refusal:
            manager.is_locked("k")
        assert "hush" not in str(refusal.value)

    def test_a_manager_with_a_client_of_its_own_stays_at_home(self, client: Any) -> None:
        with pytest.raises(TypeError, match="url"):
            pickle.dumps(RedisLockManager(client=client))

    def test_redis_is_imported_when_it_is_asked(self) -> None:
        script = (
            "import sys\n"
            "from flowstone.locking.redis import RedisLockManager\n"
            "RedisLockManager()\n"
            "print([name for name in ('redis', 'asyncio', 'socket') if name in sys.modules])\n"
        )
        listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert listed.stdout.strip() == "[]"

    def test_without_redis_the_remedy_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowstone.locking.redis.find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"flowstone\[redis\]"):
            RedisLockManager()
