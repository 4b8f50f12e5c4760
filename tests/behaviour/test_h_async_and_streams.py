"""Section H: async tasks, generators, and what submits and maps share with calls."""

from __future__ import annotations

import asyncio

import pytest

from flowstone import allow_failure, flow, task, unmapped
from flowstone.cache_policies import INPUTS
from flowstone.exceptions import UpstreamTaskError
from flowstone.testing import assert_cached


def test_sync_and_async_tasks_share_records():
    sync = task(cache_policy=INPUTS)(lambda x: "sync")

    @task(cache_policy=INPUTS)
    async def other(x):
        return "async"

    assert sync(1) == "sync"
    assert asyncio.run(other(1)) == "sync"
    assert asyncio.run(other(2)) == "async"
    assert sync(2) == "async"


def test_a_generator_task_called_again_is_replayed_without_running(records):
    runs = []

    @task(cache_policy=INPUTS)
    def count(x):
        runs.append(x)
        yield x
        yield [x]

    first = list(count(1))
    first[1].append("poison")
    with assert_cached(count):
        assert list(count(1)) == [1, [1]]
    assert runs == [1]
    assert len(records()) == 1


def test_a_generator_object_that_is_returned_is_not_drained():
    work = task(cache_policy=INPUTS)(lambda x: (i for i in range(x)))
    assert list(work(3)) == [0, 1, 2]
    assert list(work(3)) == [0, 1, 2]


def test_failed_upstreams_are_refused_in_calls_in_submits_and_in_wait_for():
    bad, add = task(lambda: 1 / 0), task(lambda x=0: x)

    @flow
    def around():
        upstream = bad.submit()
        with pytest.raises(UpstreamTaskError):
            add(upstream)
        with pytest.raises(UpstreamTaskError):
            add.submit([upstream]).result()
        with pytest.raises(UpstreamTaskError):
            add(wait_for=[upstream])
        return isinstance(add(allow_failure(upstream)), ZeroDivisionError)

    assert around() is True


def test_mapped_calls_share_records_with_calls():
    work = task(cache_policy=INPUTS)(lambda x, y: x + y)
    work(1, 10)
    states = [future.state for future in _settled(work.map([1, 2], unmapped(10)))]
    assert [(state.name, state.result()) for state in states] == [("Cached", 11), ("Completed", 12)]


def _settled(futures):
    futures.wait()
    return futures
