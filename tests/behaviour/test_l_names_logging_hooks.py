"""Section L: names of runs, logging, timeouts, hooks."""

from __future__ import annotations

import asyncio

import pytest

from flowstone import flow, task
from flowstone.exceptions import ConfigurationError, TaskRunTimeoutError


def test_log_prints_of_a_task_goes_before_that_of_the_flow(caplog, capsys):
    caplog.set_level("INFO", logger="flowstone")
    for of_task, of_flow, logged in (
        (True, False, True),
        (False, True, False),
        (None, True, True),
        (None, False, False),
    ):
        caplog.clear()
        say = task(log_prints=of_task)(lambda: print("said"))
        flow(log_prints=of_flow, name="f")(lambda say=say: say())()
        assert ("said" in [r.getMessage() for r in caplog.records if r.name == "flowstone.task_runs"]) is logged
        assert ("said" in capsys.readouterr().out) is not logged


def test_a_timeout_is_a_timeout_error_with_the_seconds_in_its_message():
    @task(timeout_seconds=0.05)
    async def slow():
        await asyncio.sleep(10)

    with pytest.raises(TimeoutError, match=r"Task run exceeded timeout of 0\.05 second\(s\)") as raised:
        asyncio.run(slow())
    assert isinstance(raised.value, TaskRunTimeoutError)


def test_zero_seconds_mean_no_timeout():
    assert task(timeout_seconds=0)(lambda: "done")() == "done"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_end_a_run_crashed_and_pass_through(error):
    runs, told = [], []

    def body():
        raise error

    work = task(on_running=[lambda t, r, s: runs.append(r)], on_failure=[lambda *_: told.append(1)], retries=2)(body)
    with pytest.raises(error):
        work()
    assert (runs[0].state.name, runs[0].run_count, told) == ("Crashed", 1, [])


def test_a_hook_that_fails_does_not_keep_others_from_running():
    told = []
    work = task(on_failure=[lambda *_: 1 / 0, lambda t, r, s: told.append(s.name)])(lambda: int("x"))
    with pytest.raises(ValueError):
        work()
    assert told == ["Failed"]


def test_an_interrupt_in_a_running_hook_ends_the_run_and_reaches_the_caller():
    runs = []

    def interrupt(task, run, state):
        runs.append(run)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task(on_running=[interrupt])(lambda: 1)()
    assert runs[0].state.name == "Crashed"


def test_a_template_that_cannot_be_filled_reaches_the_caller():
    with pytest.raises(ConfigurationError, match="nobody"):
        task(task_run_name="{nobody}")(lambda: 1)()


def test_an_interrupted_flow_ends_crashed_also_between_two_attempts():
    runs = []

    @flow(retries=1, retry_delay_seconds=30, on_running=[lambda f, r, s: runs.append(r)])
    async def flaky():
        raise ValueError

    async def story():
        job = asyncio.create_task(flaky())
        await asyncio.sleep(0.1)
        job.cancel()
        await job

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(story())
    assert runs[0].state.name == "Cancelled"
    assert runs[0].ended is not None
