"""Sections F and G: tasks in tasks, flows and transactions; retries and the cache."""

from __future__ import annotations

import pytest

from flowstone import flow, task
from flowstone.cache_policies import DEFAULT, INPUTS
from flowstone.context import get_run_context
from flowstone.states import Failed
from flowstone.transactions import get_transaction, transaction


def keyed(key, fn=None, **options):
    return task(cache_key_fn=lambda *_: key, **options)(fn or (lambda: key.upper()))


def test_every_task_run_is_a_transaction_below_the_one_around_it():
    seen = []
    inner = task(lambda: seen.append(get_transaction()))
    outer = task(lambda: (seen.append(get_transaction()), inner()))
    with transaction() as txn:
        outer()
    assert seen[0].get_parent() is txn
    assert seen[1].get_parent() is seen[0]


def test_records_of_inner_tasks_wait_for_the_outermost(records):
    seen = []

    def body():
        keyed("inner")()
        seen.append(records())

    keyed("outer", body)()
    assert seen == [[]]
    assert records() == ["inner", "outer"]


def test_an_outer_task_that_fails_undoes_the_inner_ones(records):
    undone = []
    inner = keyed("inner", on_rollback=[lambda txn: undone.append("inner")])

    def body():
        inner()
        raise ValueError

    with pytest.raises(ValueError):
        keyed("outer", body)()
    assert undone == ["inner"]
    assert records() == []


def test_by_default_nothing_is_shared_between_a_flow_its_subflow_and_two_calls_of_that():
    work = task(cache_policy=DEFAULT)(lambda x: x)
    child = flow(name="child")(lambda: work(1, return_state=True).name)
    parent = flow(name="parent")(lambda: [work(1, return_state=True).name, child(), child()])
    assert parent() == ["Completed"] * 3


def test_a_task_called_in_a_task_outside_of_flows_has_no_flow_run():
    ids = []
    inner = task(lambda: ids.append(get_run_context().flow_run_id))
    task(lambda: inner())()
    assert ids == [None]


def test_a_retry_that_succeeds_records_and_leaves_its_siblings_alone(records):
    undone, tries = [], []
    sibling = keyed("a", on_rollback=[lambda txn: undone.append("a")])

    def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return 2

    with transaction() as txn:
        sibling()
        assert keyed("b", flaky, retries=1)(return_state=True).name == "Completed"
    assert txn.is_committed()
    assert undone == []
    assert records() == ["a", "b"]


def test_hooks_of_a_task_run_once_for_each_attempt_that_is_undone():
    undone, tries = [], []

    def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise ValueError

    keyed("k", flaky, retries=2, on_rollback=[lambda txn: undone.append(len(tries))])()
    assert undone == [1, 2]


def test_a_returned_failed_state_consumes_retries_like_an_exception(records):
    tries = []

    def body():
        tries.append(1)
        return Failed(message="no") if len(tries) < 3 else "third"

    assert keyed("k", body, retries=2)() == "third"
    assert len(tries) == 3
    assert records() == ["k"]


def test_what_a_retry_got_is_recorded_under_the_arguments_as_they_were_given():
    tries = []

    @task(cache_policy=INPUTS, retries=1)
    def work(xs):
        tries.append(1)
        xs.append("junk")
        if len(tries) == 1:
            raise ValueError
        return len(xs)

    assert work([1]) == 3
    assert work([1], return_state=True).name == "Cached"
    assert work([1, "junk"], return_state=True).name == "Completed"


def test_run_counts_count_attempts():
    counts = []

    @task(retries=2)
    def work():
        counts.append(get_run_context().task_run.run_count)
        if len(counts) < 3:
            raise ValueError

    work()
    assert counts == [1, 2, 3]


def test_a_keyed_block_inside_another_records_none_when_it_stages_nothing(records):
    with transaction():
        with transaction(key="inner"):
            pass
        assert records() == []
    assert records() == ["inner"]


@pytest.mark.parametrize("settled", ["recorded", "committed", "rolled back"])
def test_what_is_called_in_a_settled_block_is_undone_with_an_error_that_leaves_it(settled, records):
    undone = []
    late = keyed("late", on_rollback=[lambda txn: undone.append("late")])
    if settled == "recorded":
        with transaction(key="block"):
            pass
    with pytest.raises(ValueError), transaction(key="block") as txn:
        if settled == "committed":
            txn.commit()
        elif settled == "rolled back":
            txn.rollback()
        late()
        raise ValueError
    assert undone == ["late"]
    assert "late" not in records()


def test_what_is_called_in_a_recorded_block_goes_the_way_of_the_block_around_it(records):
    with transaction(key="block"):
        pass
    with pytest.raises(ValueError), transaction():
        with transaction(key="block"):
            keyed("late")()
        raise ValueError
    assert records() == ["block"]


def test_staging_in_a_block_that_was_rolled_back_records_nothing(records):
    with transaction(key="block") as txn:
        txn.rollback()
        txn.stage(1)
    assert txn.is_rolled_back()
    assert records() == []


def test_the_last_value_of_a_key_that_was_staged_twice_stands():
    values = iter([1, 2])
    work = keyed("k", lambda: next(values), refresh_cache=True)
    with transaction():
        work()
        work()
    assert keyed("k", lambda: 3)() == 2
