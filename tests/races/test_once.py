"""Once means once: under SERIALIZABLE one key is computed by one asker, however many ask, and no lock is ever left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstone import flow, task
from flowstone.cache_policies import INPUTS, CachePolicy
from flowstone.exceptions import CommitError, DeadlockError
from flowstone.filesystems import LocalFileSystem
from flowstone.locking.base import LockManager
from flowstone.results import default_store
from flowstone.settings import get_current_settings
from flowstone.task_runners import ThreadPoolTaskRunner
from flowstone.transactions import atransaction, transaction

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))
PATIENCE = 60

SERIAL = INPUTS.configure(isolation_level="SERIALIZABLE")
KEY = INPUTS.compute_key(None, {"x": 1}, {}) or ""


def constant(name: str) -> CachePolicy:
    """A policy whose key is `name`, computed by one at a time."""
    return CachePolicy.from_cache_key_fn(lambda *_: name).configure(isolation_level="SERIALIZABLE")


def locks() -> LockManager:
    manager = default_store(get_current_settings()).lock_manager
    assert manager is not None
    return manager


def is_free(key: str = KEY) -> bool:
    return not locks().is_locked(key)


def together(number: int, work: Callable[[int], object]) -> list[object]:
    """Do `work(i)` in `number` threads that start at once; what it raised stands in its place."""
    start, answers = threading.Barrier(number), [object()] * number

    def run(i: int) -> None:
        start.wait()
        try:
            answers[i] = work(i)
        except Exception as error:
            answers[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread waits for ever"
    return answers


# --- many askers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [None, "memory://once"])
def test_of_many_threads_one_runs_and_all_get_the_result(storage):
    runs = []

    @task(cache_policy=SERIAL, result_storage=storage)
    def work(x):
        runs.append(x)
        time.sleep(0.05)
        return [x]

    for round in range(ROUNDS):
        assert together(8, lambda i: work(round)) == [[round]] * 8
    assert runs == list(range(ROUNDS))


def test_of_many_coroutines_one_runs_and_all_get_the_result():
    runs = []

    @task(cache_policy=SERIAL)
    async def work(x):
        runs.append(x)
        await asyncio.sleep(0.05)
        return [x]

    async def story():
        return await asyncio.gather(*(work(1) for _ in range(8)))

    assert asyncio.run(story()) == [[1]] * 8
    assert runs == [1]
    assert is_free()


def test_sync_and_async_askers_share_the_lock():
    runs = []

    def body(x):
        runs.append(x)
        time.sleep(0.05)
        return x

    async def abody(x):
        return body(x)

    one, other = task(cache_policy=SERIAL)(body), task(cache_policy=SERIAL)(abody)
    assert together(4, lambda i: one(1) if i % 2 else asyncio.run(other(1))) == [1] * 4
    assert runs == [1]


def test_generator_tasks_are_serialised_too():
    runs = []

    @task(cache_policy=SERIAL)
    def count(x):
        runs.append(x)
        time.sleep(0.05)
        yield from range(3)

    assert together(4, lambda i: list(count(1))) == [[0, 1, 2]] * 4
    assert runs == [1]
    assert is_free()


def test_different_keys_do_not_wait_for_each_other():
    meeting = threading.Barrier(3, timeout=PATIENCE)

    @task(cache_policy=SERIAL)
    def work(x):
        meeting.wait()
        return x

    assert together(3, work) == [0, 1, 2]


def test_read_committed_askers_all_run():
    meeting = threading.Barrier(3, timeout=PATIENCE)

    @task(cache_policy=INPUTS)
    def work(x):
        meeting.wait()
        return x

    assert together(3, lambda i: work(1)) == [1, 1, 1]


def test_if_the_holder_fails_one_waiter_runs_next_and_not_all():
    inside, most, runs = [], [], []

    @task(cache_policy=SERIAL)
    def work(x):
        inside.append(1)
        runs.append(len(runs))
        most.append(len(inside))
        try:
            time.sleep(0.02)
            if len(runs) < 3:
                raise ValueError("not yet")
            return "third"
        finally:
            inside.pop()

    answers = together(6, lambda i: work(1))
    assert len(runs) == 3
    assert set(most) == {1}
    assert sorted(map(str, answers)) == ["not yet", "not yet", "third", "third", "third", "third"]


SCRIPT = """
    import os, sys, threading, time
    from flowstone import task
    from flowstone.cache_policies import INPUTS, CachePolicy
    LOCKS = {}
    if len(sys.argv) > 2:
        from flowstone.locking.redis import RedisLockManager
        LOCKS = {"lock_manager": RedisLockManager(url=sys.argv[2], lease=1.0)}
    log = sys.argv[1]
    def say(text):
        with open(log, "a") as file:
            file.write(f"{text} {os.getpid()}\\n")
    @task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE", **LOCKS))
    def work(x):
        say("begin")
        time.sleep(float(os.environ.get("BODY", "0.2")))
        say("end")
        return [x]
"""

ASK = """
    def ask():
        assert work(1) == [1]
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    say("got")
"""


class Askers:
    """Processes that all want the same key, and what they wrote down while they worked."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "log"
        self.log.touch()
        self._path = folder / "asker.py"
        self._arguments = [str(self.log), *arguments]
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, number: int, text: str = ASK, **environment: str) -> list[subprocess.Popen[bytes]]:
        self._path.write_text(textwrap.dedent(SCRIPT) + textwrap.dedent(text))
        command = [sys.executable, str(self._path), *self._arguments]
        fresh = [subprocess.Popen(command, env={**os.environ, **environment}) for _ in range(number)]
        self.processes += fresh
        return fresh

    def said(self) -> list[tuple[str, int]]:
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(word, int(pid)) for word, pid in lines]

    def until(self, word: str, count: int = 1) -> float:
        """Wait until `word` was said so often; returns when, by time.monotonic()."""
        deadline = time.monotonic() + PATIENCE
        while [said for said, _ in self.said()].count(word) < count:
            assert time.monotonic() < deadline, f"{word!r} was never said: {self.said()}"
            time.sleep(0.005)
        return time.monotonic()

    def finish(self) -> None:
        for process in self.processes:
            process.wait(PATIENCE)


@pytest.fixture
def askers(tmp_path: Path) -> Iterator[Callable[..., Askers]]:
    made: list[Askers] = []

    def make(*arguments: str) -> Askers:
        made.append(Askers(tmp_path, *arguments))
        return made[-1]

    yield make
    for group in made:
        for process in group.processes:
            process.kill()
            process.wait()


def test_of_threads_in_many_processes_one_runs(askers):
    group = askers()
    group.start(3)
    group.finish()
    words = [word for word, _ in group.said()]
    assert words == ["begin", "end", "got", "got", "got"]
    assert [process.returncode for process in group.processes] == [0, 0, 0]


def test_a_killed_holder_is_succeeded_at_once_by_exactly_one_waiter(askers):
    group = askers()
    (holder,) = group.start(1, BODY="120")
    group.until("begin")
    waiters = group.start(3, BODY="0.2")
    time.sleep(1.5)  # let them come to the door; one that comes later makes the test no less true
    assert [word for word, _ in group.said()] == ["begin"]
    holder.kill()
    died = time.monotonic()
    succeeded = group.until("begin", 2)
    assert succeeded - died < 5, "0.1 s on a quiet machine; a lease would have been longer"
    for waiter in waiters:
        assert waiter.wait(PATIENCE) == 0
    said = group.said()
    assert [word for word, _ in said] == ["begin", "begin", "end", "got", "got", "got"]
    assert said[0][1] == holder.pid
    assert said[1][1] == said[2][1] != holder.pid


def test_with_redis_one_runs_and_a_killed_holder_is_succeeded_within_its_lease(askers, redis_server):
    group = askers(redis_server.url)
    (holder,) = group.start(1, BODY="120")
    group.until("begin")
    waiters = group.start(2, BODY="0.2")
    time.sleep(1.5)
    assert [word for word, _ in group.said()] == ["begin"]
    holder.kill()
    died = time.monotonic()
    assert group.until("begin", 2) - died < 10, "a lease of 1 s, and a busy machine"
    for waiter in waiters:
        assert waiter.wait(PATIENCE) == 0
    assert [word for word, _ in group.said()] == ["begin", "begin", "end", "got", "got"]


def test_a_paused_holder_that_lost_its_lease_does_not_overwrite_its_successor(askers, redis_server):
    group = askers(redis_server.url)
    value = """
        @task(cache_policy=work.cache_policy)
        def work(x):
            say("begin")
            time.sleep(float(os.environ["BODY"]))
            return os.environ["VALUE"]
        say("got-" + work(1))
    """
    (paused,) = group.start(1, value, BODY="2", VALUE="stale")
    group.until("begin")
    paused.send_signal(signal.SIGSTOP)
    (successor,) = group.start(1, value, BODY="0.1", VALUE="fresh")
    assert successor.wait(PATIENCE) == 0
    paused.send_signal(signal.SIGCONT)
    assert paused.wait(PATIENCE) == 0
    (late,) = group.start(1, value, BODY="0", VALUE="late")
    assert late.wait(PATIENCE) == 0
    got = [word for word, _ in group.said() if word.startswith("got")]
    assert got == ["got-fresh", "got-stale", "got-fresh"], (
        "its own caller gets its value; the record is the successor's"
    )


# --- no lock is left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_body_that_raises_leaves_no_lock(error):
    @task(cache_policy=SERIAL)
    def work(x):
        assert not is_free()
        raise error

    with pytest.raises(error):
        work(1)
    assert is_free()


def test_a_hit_leaves_no_lock_also_in_a_transaction_that_is_undone():
    work = task(cache_policy=SERIAL)(lambda x: x)
    work(1)
    assert is_free()
    assert work(1, return_state=True).name == "Cached"
    assert is_free()
    with pytest.raises(ZeroDivisionError), transaction():
        work(1)
        _ = 1 / 0
    assert is_free()


def test_a_lock_is_held_until_the_outcome_is_final():
    work = task(cache_policy=SERIAL)(lambda x: x)
    with transaction():
        work(1)
        assert not is_free()
    assert is_free()
    with pytest.raises(ZeroDivisionError), transaction():
        work.with_options(refresh_cache=True)(1)
        assert not is_free()
        _ = 1 / 0
    assert is_free()


def test_an_explicit_rollback_lets_go_at_once():
    work = task(cache_policy=SERIAL)(lambda x: x)
    with transaction() as txn:
        work(1)
        txn.rollback()
        assert is_free()


@pytest.mark.parametrize("outcome", ["commit hook", "rollback hook", "publish", "interrupt in hook"])
def test_a_commit_that_fails_leaves_no_lock(outcome, monkeypatch):
    work = task(cache_policy=SERIAL)(lambda x: x)
    error: type[BaseException] = CommitError

    def fail(*_):
        raise OSError("told to")

    def interrupt(*_):
        raise KeyboardInterrupt

    if outcome == "interrupt in hook":
        work.on_commit(interrupt)
        error = KeyboardInterrupt
    elif outcome == "publish":
        monkeypatch.setattr(LocalFileSystem, "put", fail)
    else:
        work.on_commit(fail)
    if outcome == "rollback hook":
        work.on_rollback(fail)
    with pytest.raises(error), transaction():
        work(1)
    assert is_free()


def test_a_cancelled_waiter_takes_nothing_and_a_cancelled_holder_lets_go():
    ran = []

    @task(cache_policy=SERIAL)
    async def work(x, wait=0):
        ran.append(wait)
        await asyncio.sleep(wait)
        return x

    one = work.with_options(cache_policy=constant("one"))

    async def story():
        holder = asyncio.create_task(one(1, wait=30))
        await asyncio.sleep(0.05)
        waiter = asyncio.create_task(one(1))
        await asyncio.sleep(0.05)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        assert waiter.cancelled()
        assert locks().is_locked("one")
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
        assert not locks().is_locked("one")
        return await one(1)

    assert asyncio.run(story()) == 1
    assert ran == [30, 0]


def test_a_transaction_cancelled_while_it_waits_for_its_children_is_undone_and_lets_go(records):
    @task(cache_policy=constant("slow"))
    def slow():
        time.sleep(0.4)
        return 1

    transactions = []

    async def block():
        async with atransaction() as txn:
            transactions.append(txn)
            slow.submit()

    async def story():
        job = asyncio.create_task(block())
        await asyncio.sleep(0.15)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    with ThreadPoolTaskRunner():
        asyncio.run(story())
    assert transactions[0].is_rolled_back()
    assert not locks().is_locked("slow")
    assert records() == []


def test_a_run_cancelled_between_two_attempts_ends_cancelled_and_lets_go():
    runs = []

    @task(cache_policy=SERIAL, retries=3, retry_delay_seconds=30, on_running=[lambda t, r, s: runs.append(r)])
    async def work(x):
        raise ValueError

    async def story():
        job = asyncio.create_task(work(1))
        await asyncio.sleep(0.1)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(story())
    assert runs[0].state.name == "Cancelled"
    assert is_free()


@pytest.mark.parametrize("leave", ["close", "throw", "forget"])
def test_a_generator_that_is_left_early_leaves_no_lock(leave):
    closed = []

    @task(cache_policy=SERIAL)
    def count(x):
        try:
            yield from range(3)
        finally:
            closed.append(x)

    stream = count(1)
    assert next(stream) == 0
    assert not is_free()
    if leave == "close":
        stream.close()
    elif leave == "throw":
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
    else:
        del stream
    assert is_free()
    assert closed == [1]


def test_an_async_generator_that_is_left_early_is_closed_and_leaves_no_lock():
    closed = []

    @task(cache_policy=SERIAL)
    async def count(x):
        try:
            for i in range(3):
                yield i
        finally:
            await asyncio.sleep(0)
            closed.append(x)

    async def story():
        stream = count(1)
        assert await anext(stream) == 0
        await stream.aclose()
        assert closed == [1]

    asyncio.run(story())
    assert is_free()


def test_a_keyed_block_leaves_no_lock_however_it_ends():
    for _ in range(2):
        with transaction(key="k", isolation_level="SERIALIZABLE"):
            pass
        assert is_free("k")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), transaction(key="k", isolation_level="SERIALIZABLE", overwrite=True):
            assert not is_free("k")
            raise error
        assert is_free("k")
    with transaction(key="off", isolation_level="SERIALIZABLE", commit_mode="OFF"):
        assert not is_free("off")
    assert is_free("off")


# --- a tree does not wait for itself --------------------------------------------------------------------------------


def test_the_same_call_twice_in_a_transaction_does_not_wait_for_itself():
    runs = []

    @task(cache_policy=SERIAL)
    def work(x):
        runs.append(x)
        return x

    with transaction():
        assert (work(1), work(1)) == (1, 1)
    assert runs == [1]
    refreshing = work.with_options(refresh_cache=True)
    with transaction():
        refreshing(1)
        refreshing(1)
        work.with_options(refresh_cache=True, result_serializer="json")(1)
    assert runs == [1] * 4
    assert is_free()


def test_an_outer_task_may_call_an_inner_one_with_the_same_key():
    inner = task(cache_policy=constant("k"))(lambda: "inner")
    outer = task(cache_policy=constant("k"))(lambda: f"outer of {inner()}")
    assert outer() == "outer of inner"
    assert inner() == "outer of inner"
    assert not locks().is_locked("k")


def test_a_keyed_block_may_call_a_task_with_its_key():
    work = task(cache_policy=constant("k"))(lambda: "task")
    with transaction(key="k", isolation_level="SERIALIZABLE"):
        assert work() == "task"
    assert not locks().is_locked("k")


def test_siblings_submitted_in_one_transaction_run_one_key_once():
    runs = []

    @task(cache_policy=SERIAL)
    def work(x):
        runs.append(x)
        time.sleep(0.05)
        return x

    @flow
    def around():
        with transaction():
            futures = [work.submit(1) for _ in range(5)]
            return [future.result(PATIENCE) for future in futures]

    answers = together(1, lambda _: around())
    assert answers == [[1] * 5]
    assert runs == [1]
    assert is_free()


def test_a_retried_outer_task_serialises_its_children_again():
    runs, tries = [], []

    @task(cache_policy=SERIAL)
    def inner(x):
        runs.append(x)
        time.sleep(0.05)
        return x

    @task(cache_policy=constant("outer"), retries=1)
    def outer():
        tries.append(1)
        for future in [inner.submit(1) for _ in range(3)]:
            future.wait(PATIENCE)
        if len(tries) == 1:
            raise ValueError
        return "done"

    assert together(1, lambda _: outer()) == ["done"]
    assert runs == [1, 1], "once in each attempt"
    assert is_free()


def test_two_transactions_that_would_wait_for_each_other_are_told_so():
    work = task(cache_policy=SERIAL)(lambda x: x)
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def take(i):
        with transaction():
            work(i)
            meeting.wait()
            work(1 - i)

    answers = together(2, take)
    assert sorted(type(answer).__name__ for answer in answers) == ["DeadlockError", "NoneType"]
    told = next(answer for answer in answers if isinstance(answer, DeadlockError))
    assert INPUTS.compute_key(None, {"x": 0}, {}) in str(told)
    assert INPUTS.compute_key(None, {"x": 1}, {}) in str(told)
