"""Sections I and J: methods as tasks, states as return values."""

from __future__ import annotations

import threading

import pytest

from flowstone import State, flow, task
from flowstone.cache_policies import INPUTS
from flowstone.exceptions import CancelledRun, CrashedRun, FailedRun, PausedRun, UnfinishedRun
from flowstone.states import (
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    StateType,
)


class Holder:
    def __init__(self, n, extra=None):
        self.n = n
        self.extra = extra

    @task(cache_policy=INPUTS)
    def get(self, x):
        return self.n, x

    @task
    def shout(self, other):
        return self.n

    @property
    @task
    def thing(self):
        return self.n


def test_self_counts_as_an_input():
    assert Holder(1).get(5) == (1, 5)
    assert Holder(1).get(5, return_state=True).name == "Cached"
    assert Holder(2).get(5) == (2, 5)


def test_a_self_that_cannot_be_hashed_means_uncached():
    holder = Holder(1, threading.Lock())
    assert [holder.get(5, return_state=True).name for _ in range(2)] == ["Completed", "Completed"]


def test_bound_tasks_called_from_many_threads_stay_with_their_objects():
    answers = []

    def call(n):
        bound = Holder(n).shout
        answers.extend((n, bound("x")) for _ in range(20))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert all(n == got for n, got in answers)


def test_a_task_below_property_works_as_in_python():
    assert Holder(3).thing == 3


def test_an_aggregate_of_states_is_not_recorded_when_one_failed(records):
    work = task(cache_policy=INPUTS)(lambda x: [Completed(data=1), Failed(message="no")])
    assert [work(1, return_state=True).type for _ in range(2)] == [StateType.FAILED] * 2
    assert records() == []


def test_data_that_looks_like_metadata_stays_data():
    work = task(cache_policy=INPUTS)(lambda x: Completed(data={"storage_key": "foo"}))
    for _ in range(2):
        returned = work(1)
        assert isinstance(returned, State)
        assert returned.data == {"storage_key": "foo"}


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (Failed("m"), FailedRun),
        (Crashed("m"), CrashedRun),
        (Cancelled("m"), CancelledRun),
        (Paused("m"), PausedRun),
        (Pending(), UnfinishedRun),
        (Running(), UnfinishedRun),
        (Failed(data=5), TypeError),
        (Failed(data=ValueError("own")), ValueError),
    ],
    ids=str,
)
def test_what_a_state_without_a_result_raises(state, error):
    with pytest.raises(error):
        state.result()


def test_failures_are_returned_instead_if_asked_but_unfinished_runs_raise():
    assert isinstance(Failed("m").result(raise_on_failure=False), FailedRun)
    with pytest.raises(UnfinishedRun):
        Pending().result(raise_on_failure=False)


def test_how_states_print():
    assert str(Completed("done")) == "Completed('done')"
    assert str(State(StateType.COMPLETED, "Cached", "m")) == "Cached('m', type=COMPLETED)"
    assert repr(Failed("m", data=None)) == "Failed(message='m', type=FAILED, result=None)"


def test_failed_futures_that_a_flow_does_not_return_do_not_matter():
    bad = task(lambda: 1 / 0)

    @flow
    def around():
        bad.submit()
        return "fine"

    assert around() == "fine"
