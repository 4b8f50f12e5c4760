"""What flowstone.testing promises to those who test with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowstone import flow, task
from flowstone.cache_policies import INPUTS, TASK_SOURCE
from flowstone.clock import SYSTEM_CLOCK, current_clock
from flowstone.effects import Blocking
from flowstone.exceptions import ConfigurationError
from flowstone.testing import (
    CrashDriver,
    Killed,
    ManualClock,
    assert_cached,
    assert_ran,
    caching_disabled,
    drive_until,
    force_rerun,
    temporary_store,
    watch_runs,
)


@task(cache_policy=INPUTS)
def double(x):
    return 2 * x


def test_a_manual_clock_stands_still_until_it_is_moved():
    with ManualClock(datetime(2020, 1, 1, tzinfo=UTC)) as clock:
        assert current_clock() is clock
        before = clock.now()
        clock.advance(timedelta(days=1))
        clock.advance(0.5)
        assert clock.now() - before == 86400.5
        with pytest.raises(ConfigurationError):
            clock.advance(-1)
    assert current_clock() is SYSTEM_CLOCK


def test_records_expire_and_retries_fall_due_by_a_manual_clock():
    tries = []

    @task(cache_policy=INPUTS, cache_expiration=timedelta(days=1), retries=2, retry_delay_seconds=3600)
    def flaky(x):
        tries.append(x)
        if len(tries) < 3:
            raise ValueError
        return x

    with ManualClock() as clock:
        assert flaky(1) == 1
        assert clock.slept == [3600, 3600]
        clock.advance(timedelta(hours=23))
        assert flaky(1, return_state=True).name == "Cached"
        clock.advance(timedelta(hours=1))
        assert flaky(1, return_state=True).name == "Completed"

        aflaky = task(retries=1, retry_delay_seconds=60)(_fails_once())
        assert asyncio.run(aflaky()) == 2
        assert clock.slept[2:] == [60]


def _fails_once():
    tries = []

    async def fails_once():
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return len(tries)

    return fails_once


def test_a_temporary_store_takes_what_is_recorded_and_ends_with_the_block(records, tmp_path):
    with temporary_store() as store:
        double(1)
        folder = Path(store.result_storage.identity.removeprefix("file://"))
        assert folder.is_dir()
        assert [entry.key for entry in store.result_storage.scan()] == [INPUTS.compute_key(None, {"x": 1}, {})]
    assert records() == []
    assert not folder.exists()
    with temporary_store(tmp_path / "kept"):
        double(1)
    assert len([p for p in (tmp_path / "kept").iterdir() if not p.name.startswith(".")]) == 1


def test_a_temporary_store_begins_empty_and_does_not_turn_persistence_on():
    double(1)
    plain = task(lambda x: x)
    with temporary_store() as store, assert_ran(double):
        double(1)
        plain(1)
        assert len(list(store.result_storage.scan())) == 1


def test_disabled_caching_runs_and_records_nothing(records):
    with caching_disabled(), assert_ran(double):
        double(1)
        double(1)
    assert records() == []


def test_forced_reruns_overwrite():
    double(1)
    with force_rerun(), assert_ran(double):
        double(1)
    with assert_cached(double):
        double(1)


def test_assert_cached_says_what_ran_and_why():
    with pytest.raises(AssertionError, match=r"double: Completed \(no record\)"), assert_cached():
        double(1)
    with assert_cached(double) as seen:
        double(1)
        double.with_options(name="renamed")(1)
    assert [str(run) for run in seen] == ["double: Cached", "renamed: Cached"]
    with pytest.raises(AssertionError, match="2: Cached"), assert_ran():
        double.with_options(name="2")(1)
    with pytest.raises(AssertionError, match="nothing is cached here"), assert_cached():
        task(lambda: 1)()


def test_a_block_in_which_nothing_ran_proves_nothing():
    for check in (assert_cached, assert_ran):
        with pytest.raises(AssertionError, match="No run of any task"), check():
            pass
        with pytest.raises(AssertionError, match="No run of double"), check(double):
            task(lambda: 1)()


def test_an_error_in_the_block_is_not_covered_up():
    with pytest.raises(ZeroDivisionError), assert_cached(double):
        _ = 1 / 0


def test_watched_runs_are_told_apart():
    other = task(cache_policy=INPUTS + TASK_SOURCE, name="other")(lambda x: x)

    @flow
    def around():
        double(1)
        double(1)
        other(1)

    with watch_runs() as seen:
        around()
    assert [run.task.name for run in seen] == ["double", "double", "other"]
    assert len(seen.of(double)) == 2
    assert [run.task.name for run in seen.cached] == ["double"]
    assert len(seen.ran) == 2


def test_drive_until_kills_at_the_effect_and_lets_clean_up_run():
    done = []

    async def core():
        try:
            for i in range(3):
                await Blocking(lambda i=i: done.append(i))
            return "end"
        finally:
            await Blocking(lambda: done.append("clean"), cleanup=True)

    for n, expected in ((1, ["clean"]), (2, [0, "clean"]), (3, [0, 1, "clean"])):
        done.clear()
        with pytest.raises(Killed):
            drive_until(core(), n)
        assert done == expected
    done.clear()
    assert drive_until(core(), 4) == "end"
    assert done == [0, 1, 2, "clean"]


def test_a_crash_driver_reaches_runs_inside_of_runs_and_leaves_no_trace():
    outer = task(lambda: double(1))
    with CrashDriver() as counting:
        outer()
    with temporary_store(), CrashDriver(at=2) as driver, pytest.raises(Killed):
        outer()
    assert counting.count > 2
    assert driver.fired
    with temporary_store(), CrashDriver(at=1000) as driver:
        assert outer() == 2
    assert not driver.fired
    assert outer() == 2
