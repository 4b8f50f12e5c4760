"""What is special about runs in other processes: what travels, what is refused, and workers that die."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from flowstone import flow, get_run_logger, get_transaction, task, transaction
from flowstone.cache_policies import CODE, INPUTS, TASK_SOURCE
from flowstone.exceptions import ConfigurationError, CrashedRun, FailedRun, SerializationError
from flowstone.results import ResultStore
from flowstone.task_runners import ProcessPoolTaskRunner
from flowstone.task_runners.base import IN_BLOCK

WAIT = 60


@contextmanager
def pool_block(pool):
    """Let submits go to a runner that is started already."""
    token = IN_BLOCK.set(pool)
    try:
        yield
    finally:
        IN_BLOCK.reset(token)


@task
def process_id():
    return os.getpid()


@task
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@task
def leave_with(code):
    os._exit(code)


@task(cache_policy=INPUTS)
def square(x):
    return x * x


def helper(x):
    return x + 1


@task(cache_policy=INPUTS + TASK_SOURCE)
def by_source(x):
    return helper(x)


@task(cache_policy=INPUTS + CODE)
def by_code(x):
    return helper(x)


@task
def talk():
    get_run_logger().info("said %s", "hello")


class Awkward(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


@task
def awkward():
    raise Awkward(1, 2)


@task
def unsendable():
    return threading.Lock()


@pytest.fixture(scope="module")
def pool():
    runner = ProcessPoolTaskRunner(max_workers=2)
    with runner:
        yield runner


@pytest.fixture
def submit(pool):
    return lambda task, *args: pool.submit(task, args, {})


def test_runs_are_in_other_processes_which_are_kept(submit):
    ids = {submit(process_id).result(timeout=WAIT) for _ in range(6)}
    assert os.getpid() not in ids
    assert len(ids) <= 2


def test_a_killed_worker_crashes_its_run_and_no_other(submit):
    dead, left = submit(die), submit(leave_with, 3)
    dead.wait(WAIT)
    assert dead.state.is_crashed()
    with pytest.raises(CrashedRun, match=r"'die' was killed by SIGKILL"):
        dead.result()
    with pytest.raises(CrashedRun, match=r"exit code 3"):
        left.result(timeout=WAIT)
    assert submit(square, 3).result(timeout=WAIT) == 9


def test_a_worker_that_died_at_rest_is_replaced_without_a_word():
    with ProcessPoolTaskRunner(max_workers=1):
        first = process_id.submit().result(timeout=WAIT)
        os.kill(first, signal.SIGKILL)
        time.sleep(0.2)
        assert process_id.submit().result(timeout=WAIT) != first


@pytest.mark.parametrize("subject", [square, by_source, by_code], ids=lambda subject: subject.name)
def test_a_call_finds_what_a_worker_recorded_and_the_other_way_round(submit, subject, records):
    first = subject(1)
    again = submit(subject, 1)
    assert again.result(timeout=WAIT) == first
    assert again.state.name == "Cached"
    submit(subject, 2).result(timeout=WAIT)
    assert subject(2, return_state=True).name == "Cached"
    assert len(records()) == 2


def test_what_a_run_logs_reaches_the_handlers_here(submit, caplog):
    caplog.set_level(logging.INFO, logger="flowstone")
    future = submit(talk)
    future.result(timeout=WAIT)
    (record,) = [record for record in caplog.records if "said" in record.getMessage()]
    assert record.getMessage() == "said hello"
    assert record.task_run_id == future.task_run_id


def test_an_exception_that_cannot_travel_is_described(submit):
    future = submit(awkward)
    with pytest.raises(FailedRun, match="Awkward: 1 and 2"):
        future.result(timeout=WAIT)
    assert future.state.is_failed()


def test_an_exception_brings_the_text_of_its_traceback(submit):
    @task
    def fail():
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        submit(fail).result(timeout=WAIT)
    assert "return 1 / 0" in "".join(caught.value.__notes__)


def test_a_result_that_cannot_travel_fails_the_run_and_says_so(submit):
    with pytest.raises(SerializationError, match="its result cannot be sent"):
        submit(unsendable).result(timeout=WAIT)


def test_arguments_that_cannot_travel_are_refused_before_the_run(submit):
    with socket.socket() as live:
        future = submit(square, live)
        with pytest.raises(SerializationError, match="'square' cannot be sent to another process: its arguments"):
            future.result(timeout=WAIT)
    assert future.run.run_count == 0


def test_results_kept_in_the_memory_of_one_process_are_refused(submit):
    with pytest.raises(ConfigurationError, match="memory of this process"):
        submit(square.with_options(result_storage="memory://here"), 1).result(timeout=WAIT)


def test_retries_happen_in_the_worker_and_all_states_come_back(submit, tmp_path):
    @task(retries=2)
    def third_time(path):
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise ValueError("not yet")
        return "now"

    future = submit(third_time, str(tmp_path / "tries"))
    assert future.result(timeout=WAIT) == "now"
    assert future.run.run_count == 3
    assert [state.name for state in future.run.states] == [
        "Pending", "Running", "Retrying", "Retrying", "Completed",
    ]  # fmt: skip


def test_a_transaction_sees_and_publishes_what_workers_staged_in_it(pool, records):
    with pool_block(pool), transaction():
        assert square.submit(7).result(timeout=WAIT) == 49
        assert records() == []
        assert square(7, return_state=True).name == "Cached"
        assert square.submit(7).state.name != "Failed"
    assert len(records()) == 1


def test_hooks_made_in_a_worker_come_back_to_the_group(pool, tmp_path):
    @task
    def leaves_something(path):
        open(path, "w").close()
        get_transaction().on_rollback_hooks.append(lambda txn: os.remove(path))

    path = tmp_path / "left"
    with pool_block(pool), pytest.raises(ZeroDivisionError), transaction():
        leaves_something.submit(str(path)).result(timeout=WAIT)
        assert path.exists()
        _ = 1 / 0
    assert not path.exists()


def test_serializable_runs_inside_a_transaction_are_refused(pool):
    locked = square.with_options(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
    with pool_block(pool):
        assert locked.submit(11).result(timeout=WAIT) == 121
        with pytest.raises(ConfigurationError, match="SERIALIZABLE"), transaction():
            locked.submit(12).result(timeout=WAIT)


def test_the_store_of_a_flow_goes_along(tmp_path):
    @flow(result_storage=tmp_path / "here", task_runner=ProcessPoolTaskRunner(max_workers=1))
    def around():
        return square.submit(5).result(timeout=WAIT)

    assert around() == 25
    assert ResultStore(tmp_path / "here").result_storage.identity
    assert [path for path in (tmp_path / "here").iterdir() if not path.name.startswith(".")]


def test_arguments_wait_unpickled_until_a_worker_is_free(pool):
    pickled = []

    class Counted:
        def __reduce__(self):
            pickled.append(time.monotonic())
            return int, ()

    @task
    def slow(_):
        time.sleep(0.3)

    futures = [pool.submit(slow, (Counted(),), {}) for _ in range(8)]
    futures[0].wait(WAIT)
    assert len(set(pickled)) < 8
    for future in futures:
        future.result(timeout=WAIT)


SCRIPT = """
from flowstone import task
from flowstone.task_runners import ProcessPoolTaskRunner
class Point:
    def __init__(self, x): self.x = x
@task
def make(x):
    return Point(x)
with ProcessPoolTaskRunner(max_workers=1):
    point = make.submit(3).result(timeout=60)
print(type(point) is Point, point.x)
"""


def test_a_script_needs_no_guard_and_gets_its_own_classes_back(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=WAIT)
    assert ended.stdout == "True 3\n", ended.stderr
