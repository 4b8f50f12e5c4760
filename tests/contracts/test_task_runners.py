"""What every task runner owes its users; run on each implementation."""

from __future__ import annotations

import asyncio
import time

import pytest

from flowstone import allow_failure, flow, quote, tags, task, transaction, unmapped
from flowstone.cache_policies import INPUTS
from flowstone.context import TaskRunContext, get_run_context
from flowstone.exceptions import MappingLengthMismatch, MappingMissingIterable, ParameterBindError, UpstreamTaskError
from flowstone.futures import as_completed, wait
from flowstone.settings import temporary_settings
from flowstone.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner


@task
def add(a, b=1):
    return a + b


@task
async def aadd(a, b=1):
    await asyncio.sleep(0.01)
    return a + b


@task
def fail():
    raise ValueError("upstream")


@task
def nap(seconds):
    time.sleep(seconds)
    return seconds


@task(cache_policy=INPUTS)
def square(x):
    return x * x


@task
def whereabouts():
    context = get_run_context()
    assert isinstance(context, TaskRunContext)
    return context.flow_run_id, sorted(context.task_run.tags), context.persist_result


@task
def nested(n):
    return 0 if n == 0 else nested.submit(n - 1).result() + 1


@task(cache_policy=INPUTS)
def count_up(n):
    yield from range(n)


RUNNERS = {
    "threads": lambda: ThreadPoolTaskRunner(max_workers=3),
    "processes": lambda: ProcessPoolTaskRunner(max_workers=2),
}


@pytest.fixture(params=RUNNERS)
def runner(request):
    return RUNNERS[request.param]()


@pytest.fixture
def entered(runner):
    with runner:
        yield runner


def test_a_submitted_run_gives_what_a_call_gives(entered):
    future = add.submit(1, b=2)
    assert future.result(timeout=30) == 3
    assert future.state.name == "Completed"
    assert future.done()
    assert aadd.submit(1).result(timeout=30) == 2


def test_futures_anywhere_in_arguments_are_resolved_and_order_the_runs(entered):
    first = add.submit(1)
    second = add.submit(first, b=add.submit(a=first))
    assert second.result(timeout=30) == 5

    @task
    def total(values):
        return sum(values["list"]) + values["one"]

    assert total.submit({"list": [first, (second)], "one": 1}).result(timeout=30) == 8


def test_wait_for_orders_runs_without_arguments(entered):
    began = time.monotonic()
    add.submit(1, wait_for=[nap.submit(0.2)]).wait(30)
    assert time.monotonic() - began >= 0.2


def test_a_failed_upstream_is_refused_and_never_a_silent_none(entered):
    bad = fail.submit()
    future = add.submit(bad)
    future.wait(30)
    assert future.state.name == "NotReady"
    with pytest.raises(UpstreamTaskError):
        future.result()
    with pytest.raises(UpstreamTaskError):
        add(bad)
    assert isinstance(add.submit(1, wait_for=[allow_failure(bad)]).result(timeout=30), int)

    @task
    def kind(value):
        return type(value).__name__

    assert kind.submit(allow_failure(bad)).result(timeout=30) == "ValueError"
    assert kind.submit(quote([bad])).result(timeout=30) == "list"


def test_waiting_raises_nothing_and_results_raise_what_the_run_raised(entered):
    future = fail.submit()
    future.wait()
    with pytest.raises(ValueError, match="upstream"):
        future.result()
    assert isinstance(future.result(raise_on_failure=False), ValueError)
    slow = nap.submit(0.5)
    slow.wait(timeout=0.01)
    assert not slow.done()
    with pytest.raises(TimeoutError):
        slow.result(timeout=0.01)
    assert slow.result(timeout=30) == 0.5


def test_done_callbacks_are_called_once_with_the_future(entered):
    called = []
    future = add.submit(1)
    future.wait(30)
    future.add_done_callback(called.append)
    assert called == [future]


def test_keys_states_and_records_are_those_of_a_call(entered, records):
    assert square.submit(3).result(timeout=30) == 9
    before = records()
    assert square(3, return_state=True).name == "Cached"
    assert square.submit(3).state.name in ("Cached", "Pending", "Running", "Completed")
    again = square.submit(3)
    again.wait(30)
    assert again.state.name == "Cached"
    assert records() == before


def test_runs_belong_to_the_flow_and_inherit_tags_and_settings(runner):
    @flow(task_runner=runner, persist_result=True)
    def around():
        with tags("outer"):
            return get_run_context().flow_run_id, whereabouts.submit().result(timeout=30)

    flow_run_id, (seen, seen_tags, persists) = around()
    assert seen == flow_run_id
    assert seen_tags == ["outer"]
    assert persists is True
    with runner, temporary_settings({"FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT": True}):
        assert whereabouts.submit().result(timeout=30)[2] is True


def test_a_flow_waits_for_the_runs_it_did_not_wait_for(runner):
    futures = []

    @flow(task_runner=runner)
    def around():
        futures.append(nap.submit(0.3))

    around()
    assert futures[0].done()


def test_a_flow_that_returns_futures_ends_as_they_end(runner):
    @flow(task_runner=runner)
    def around(ok):
        return [add.submit(1), add.submit(2) if ok else fail.submit()]

    assert around(True, return_state=True).is_completed()
    state = around(False, return_state=True)
    assert state.is_failed()
    assert state.message == "1/2 states failed."


def test_runs_in_a_transaction_are_awaited_and_commit_or_are_undone_with_it(entered, records):
    with transaction():
        square.submit(4)
        assert records() == []
    assert len(records()) == 1
    undone = []
    victim = square.with_options(on_rollback=[lambda txn: undone.append("undone")])
    with pytest.raises(ZeroDivisionError), transaction():
        victim.submit(5)
        _ = 1 / 0
    assert undone == ["undone"]
    assert len(records()) == 1


def test_a_task_that_submits_and_waits_never_stands_still(entered):
    assert nested.submit(12).result(timeout=60) == 12


def test_generator_tasks_give_the_list_of_their_items(entered):
    assert count_up.submit(3).result(timeout=30) == [0, 1, 2]
    future = count_up.submit(3)
    assert future.result(timeout=30) == [0, 1, 2]
    assert future.state.name == "Cached"


def test_map_makes_a_run_of_each_item_in_order(entered):
    assert add.map([1, 2, 3], unmapped(10)).result() == [11, 12, 13]
    assert add.map(range(3), b=(1, 2, 3)).result() == [1, 3, 5]
    assert add.map(add.map([1, 2])).result() == [3, 4]
    assert add.map({"a": 1}, "b").result() == ["ab"]
    assert add.map(i for i in [1, 2]).result() == [2, 3]
    assert add.map([]) == []
    assert aadd.map([1, 2]).result() == [2, 3]


def test_map_tells_what_it_cannot_map(entered):
    with pytest.raises(MappingMissingIterable, match=r"add\.map"):
        add.map(1)
    with pytest.raises(MappingMissingIterable):
        add.map(unmapped([1]))
    with pytest.raises(MappingLengthMismatch, match="'a': 2, 'b': 3"):
        add.map([1, 2], [1, 2, 3])
    with pytest.raises(ParameterBindError):
        add.map([1], c=[2])


def test_wait_and_as_completed(entered):
    quick = add.submit(1)
    quick.wait(30)
    slow = nap.submit(0.5)
    done, not_done = wait([quick, slow], timeout=0.05)
    assert (done, not_done) == ({quick}, {slow})
    assert list(as_completed([slow, quick], timeout=30)) == [quick, slow]
    with pytest.raises(TimeoutError):
        list(as_completed([nap.submit(1)], timeout=0.01))


def test_futures_can_be_awaited(entered):
    async def story():
        assert await add.submit(1) == 2
        assert await aadd.map([1, 2]) == [2, 3]
        with pytest.raises(ValueError, match="upstream"):
            await fail.submit()
        return await aadd(add.submit(1))

    assert asyncio.run(story()) == 3


def test_leaving_the_block_waits_for_all_runs(runner):
    with runner:
        future = nap.submit(0.3)
    assert future.done()


def test_a_runner_is_entered_once_at_a_time_and_duplicates_are_fresh(runner):
    with runner:
        with pytest.raises(RuntimeError, match="duplicate"):
            runner.start()
        with runner.duplicate():
            assert add.submit(1).result(timeout=30) == 2
    with runner:
        assert add.submit(1).result(timeout=30) == 2


def test_submitting_outside_of_flows_and_blocks_works():
    assert add.submit(1).result(timeout=30) == 2
    assert add.map([1, 2]).result() == [2, 3]
