"""What a run in another process knows of where it was submitted."""

from __future__ import annotations

import pytest

from flowstone import flow, get_transaction, runtime, tags, task, transaction
from flowstone.cache_policies import FLOW_PARAMETERS, INPUTS
from flowstone.settings import get_current_settings, temporary_settings
from flowstone.task_runners import ProcessPoolTaskRunner

WAIT = 60


@task
def flow_facts():
    return runtime.flow_run.id, runtime.flow_run.name, runtime.flow_run.parameters, runtime.task_run.id


@task
def retries_by_default():
    return get_current_settings().tasks.default_retries


@task
def from_the_group():
    return get_transaction().get("told")


@task(cache_policy=FLOW_PARAMETERS)
def per_parameters():
    return runtime.flow_run.parameters["values"][-1]


@task
async def later(x):
    return x


def test_the_flow_run_is_the_same(home):
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1), flow_run_name="mine")
    def around(year):
        future = flow_facts.submit()
        assert future.result(timeout=WAIT)[3] == future.task_run_id
        return runtime.flow_run.id, future.result()[:3]

    flow_run_id, told = around(2026)
    assert told == (flow_run_id, "mine", {"year": 2026})


def test_parameters_that_change_between_two_submits_are_seen():
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def around(values):
        first = per_parameters.submit().result(timeout=WAIT)
        values.append(2)
        return first, per_parameters.submit().result(timeout=WAIT)

    assert around([1]) == (1, 2)


def test_settings_of_the_moment_go_along():
    with ProcessPoolTaskRunner(max_workers=1):
        assert retries_by_default.submit().result(timeout=WAIT) == 0
        with temporary_settings({"FLOWSTONE_TASKS_DEFAULT_RETRIES": 2}), tags("a"):
            assert retries_by_default.submit().result(timeout=WAIT) == 2
        assert retries_by_default.submit().result(timeout=WAIT) == 0


def test_a_transaction_tells_its_values_to_what_runs_in_it():
    with ProcessPoolTaskRunner(max_workers=1), transaction() as around:
        around.set("told", [1, 2])
        assert from_the_group.submit().result(timeout=WAIT) == [1, 2]


@pytest.mark.parametrize("staged_first", [True, False])
def test_an_async_task_in_a_transaction_is_served_what_is_staged(staged_first):
    cached = later.with_options(cache_policy=INPUTS)
    with ProcessPoolTaskRunner(max_workers=1), transaction():
        if staged_first:
            assert cached.submit(1).result(timeout=WAIT) == 1
        again = cached.submit(1)
        assert again.result(timeout=WAIT) == 1
        assert again.state.name == ("Cached" if staged_first else "Completed")
