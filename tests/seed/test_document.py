"""Every example of the document about task caching, and what it says of it, in one process and across two."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flowstone import flow, task
from flowstone.cache_policies import DEFAULT, FLOW_PARAMETERS, INPUTS, NO_CACHE, NONE, RUN_ID, TASK_SOURCE
from flowstone.context import TaskRunContext
from flowstone.settings import temporary_settings
from flowstone.transactions import transaction

Script = Callable[..., str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script in a process of its own and returns what it printed; one home for all of them."""

    def run(text: str, name: str = "script.py", **environment: str) -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        env = {**os.environ, "FLOWSTONE_LOGGING_LEVEL": "WARNING", **environment}
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


# --- the default policy -------------------------------------------------------------------------------------------


def test_persistence_is_off_by_default_so_nothing_is_cached(records):
    runs = []

    @task
    def double(x):
        runs.append(x)
        return 2 * x

    @flow
    def twice():
        return double(1), double(1)

    assert twice() == (2, 2)
    assert runs == [1, 1]
    assert records() == []


def test_by_default_the_same_call_twice_in_a_flow_runs_once_and_again_in_the_next_flow_run(records):
    runs = []

    @task
    def double(x):
        runs.append(x)
        return 2 * x

    @flow
    def twice():
        return [double(1, return_state=True).name for _ in range(2)] + [double(2)]

    with temporary_settings({"FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT": True}):
        assert twice() == ["Completed", "Cached", 4]
        assert twice() == ["Completed", "Cached", 4]
    assert runs == [1, 2, 1, 2]
    assert len(records()) == 4


def test_run_autonomously_the_default_key_holds_the_task_run_id_so_every_call_runs():
    runs = []

    @task(cache_policy=DEFAULT)
    def double(x):
        runs.append(x)
        return 2 * x

    assert [double(1), double(1)] == [2, 2]
    assert runs == [1, 1]


def test_config_set_turns_persistence_on_for_later_processes(script):
    done = subprocess.run(
        [sys.executable, "-m", "flowstone", "config", "set", "FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = """
        from flowstone import flow, task
        @task
        def work(x):
            return x
        @flow
        def twice():
            return work(1, return_state=True).name, work(1, return_state=True).name
        print(twice())
    """
    assert script(text) == "('Completed', 'Cached')\n"


# --- keys are files ------------------------------------------------------------------------------------------------


def test_a_record_is_a_file_named_exactly_by_its_key(records):
    @task(cache_key_fn=lambda context, parameters: f"add-{parameters['x']}")
    def add_one(x):
        return x + 1

    add_one(1)
    add_one(2)
    assert records() == ["add-1", "add-2"]


def test_computed_keys_are_file_names_too(records):
    @task(cache_policy=INPUTS)
    def add_one(x):
        return x + 1

    add_one(1)
    assert records() == [INPUTS.compute_key(None, {"x": 1}, {})]


def test_different_tasks_that_give_the_same_key_share_the_record():
    @task(cache_key_fn=lambda *_: "shared")
    def first():
        return "from the first"

    @task(cache_key_fn=lambda *_: "shared")
    def second():
        raise AssertionError("must not run")

    assert first() == "from the first"
    assert second() == "from the first"


def test_persist_result_false_means_never_cached(records):
    runs = []

    @task(cache_policy=INPUTS, persist_result=False)
    def work(x):
        runs.append(x)

    work(1)
    work(1)
    assert runs == [1, 1]
    assert records() == []


# --- policies ------------------------------------------------------------------------------------------------------


def test_task_source_runs_once_and_once_more_after_the_code_changed(script):
    text = """
        from flowstone import task
        from flowstone.cache_policies import TASK_SOURCE
        @task(cache_policy=TASK_SOURCE)
        def my_stateful_task():
            print('sleeping')
            return {value}
        print(my_stateful_task())
        print(my_stateful_task())
    """
    assert script(text.format(value=42)) == "sleeping\n42\n42\n"
    assert script(text.format(value=42)) == "42\n42\n"
    assert script(text.format(value=43)) == "sleeping\n43\n43\n"
    assert script(text.format(value=43)) == "43\n43\n"


def test_no_matter_how_many_flows_call_it_task_source_runs_once():
    runs = []

    @task(cache_policy=TASK_SOURCE)
    def work():
        runs.append(1)
        return 42

    @flow
    def one():
        return work()

    @flow
    def two():
        return work()

    assert (one(), two(), work()) == (42, 42, 42)
    assert runs == [1]


def test_flow_parameters_alone_count_the_parameters_of_the_flow():
    runs = []

    @task(cache_policy=FLOW_PARAMETERS)
    def work(x):
        runs.append(x)
        return x

    @flow
    def parent(a):
        return work(a), work(a + 1)

    assert parent(1) == (1, 1)
    assert parent(1) == (1, 1)
    assert parent(2) == (2, 2)
    assert runs == [1, 2]


@pytest.mark.parametrize("policy", [NONE, NO_CACHE])
def test_none_avoids_caching_and_persistence_altogether(policy, records):
    runs = []

    @task(cache_policy=policy, persist_result=True)
    def work(x):
        runs.append(x)

    work(1)
    work(1)
    assert runs == [1, 1]
    assert records() == []


def test_a_sum_reruns_for_new_inputs_and_for_new_code(script):
    text = """
        from flowstone import task
        from flowstone.cache_policies import TASK_SOURCE, INPUTS
        @task(cache_policy=TASK_SOURCE + INPUTS)
        def my_cached_task(x: int):
            print('running', x)
            return x + {offset}
        print(my_cached_task(1), my_cached_task(2), my_cached_task(1))
    """
    assert script(text.format(offset=42)) == "running 1\nrunning 2\n43 44 43\n"
    assert script(text.format(offset=42)) == "43 44 43\n"
    assert script(text.format(offset=1)) == "running 1\nrunning 2\n2 3 2\n"


def test_a_subtracted_input_does_not_count():
    runs = []

    @task(cache_policy=INPUTS - "debug")
    def my_cached_task(x: int, debug: bool = False):
        runs.append(x)
        return x + 42

    assert my_cached_task(1) == 43
    assert my_cached_task(1, debug=True) == 43
    assert my_cached_task(2, debug=True) == 44
    assert runs == [1, 2]


# --- expiration ----------------------------------------------------------------------------------------------------


def test_a_record_is_valid_until_its_expiration_for_every_task_that_shares_the_key():
    from flowstone.clock import Clock, restore_clock, use_clock

    class Manual(Clock):
        time = 1_000_000.0

        def now(self) -> float:
            return self.time

    clock = Manual()
    token = use_clock(clock)
    runs = []

    @task(cache_key_fn=lambda *_: "greeting", cache_expiration=timedelta(days=1))
    def hello():
        runs.append("hello")
        return "hello"

    @task(cache_key_fn=lambda *_: "greeting")
    def other():
        runs.append("other")
        return "other"

    try:
        assert (hello(), other()) == ("hello", "hello")
        Manual.time += timedelta(hours=23).total_seconds()
        assert (hello(), other()) == ("hello", "hello")
        Manual.time += timedelta(hours=2).total_seconds()
        assert other() == "other"
    finally:
        restore_clock(token)
    assert runs == ["hello", "other"]


def test_the_caching_example_does_not_rerun_for_the_same_name(script):
    text = """
        from datetime import timedelta
        from flowstone import flow, task
        from flowstone.cache_policies import INPUTS
        @task(cache_policy=INPUTS, cache_expiration=timedelta(days=1))
        def hello_task(name_input):
            # Doing some work
            print("Saying hello")
            return "hello " + name_input
        @flow
        def hello_flow(name_input):
            hello_task(name_input)
            return hello_task(name_input)
        print(hello_flow("Marvin"))
    """
    assert script(text) == "Saying hello\nhello Marvin\n"
    assert script(text) == "hello Marvin\n"


def test_with_the_run_id_in_the_key_each_flow_run_says_hello_once():
    said = []

    @task(cache_policy=INPUTS + RUN_ID, cache_expiration=timedelta(days=1))
    def hello_task(name_input):
        said.append(name_input)
        return "hello " + name_input

    @flow(log_prints=True)
    def hello_flow(name_input):
        return hello_task(name_input), hello_task(name_input)

    assert hello_flow("Ada") == ("hello Ada", "hello Ada")
    assert said == ["Ada"]
    hello_flow("Ada")
    assert said == ["Ada", "Ada"]


# --- key functions -------------------------------------------------------------------------------------------------


def test_a_static_key_makes_every_call_the_same(records):
    def static_cache_key(context, parameters):
        return "static cache key"

    @task(cache_key_fn=static_cache_key)
    def my_cached_task(x: int):
        return x + 1

    assert (my_cached_task(1), my_cached_task(2)) == (2, 2)
    assert records() == ["static cache key"]


def test_a_key_function_sees_the_run_the_flow_the_task_and_the_inputs():
    seen = {}

    def key(context, parameters):
        assert isinstance(context, TaskRunContext)
        seen.update(run=context.task_run_id, flow=context.flow_run_id, task=context.task, parameters=parameters)
        return f"{context.flow_run_id}-{parameters['z']}"

    @task(cache_key_fn=key)
    def work(x, y, z=3):
        return x + y + z

    @flow
    def around():
        from flowstone.runtime import flow_run

        return flow_run.id, work(1, y=2)

    flow_run_id, total = around()
    assert total == 6
    assert seen["flow"] == flow_run_id
    assert seen["run"]
    assert seen["task"] is work
    assert seen["parameters"] == {"x": 1, "y": 2, "z": 3}


# --- several tasks, all or none --------------------------------------------------------------------------------------


def test_tasks_in_a_transaction_are_cached_together_or_not_at_all(records):
    runs = []

    @task(cache_key_fn=lambda *args, **kwargs: "static-key-1")
    def load_data():
        runs.append("load")
        return "some-data"

    @task(cache_key_fn=lambda *args, **kwargs: "static-key-2")
    def process_data(data, fail):
        runs.append("process")
        if fail:
            raise RuntimeError("Error! Abort!")
        return len(data)

    @flow
    def multi_task_cache(fail: bool = True):
        with transaction():
            data = load_data()
            process_data(data=data, fail=fail)

    with pytest.raises(RuntimeError, match="Abort"):
        multi_task_cache()
    assert records() == []
    multi_task_cache(fail=False)
    assert records() == ["static-key-1", "static-key-2"]
    multi_task_cache(fail=False)
    assert runs == ["load", "process", "load", "process"]


# --- refresh ---------------------------------------------------------------------------------------------------------


def _counting(**options):
    values = iter(range(100))

    @task(cache_key_fn=lambda *_: "static cache key", **options)
    def caching_task():
        return next(values)

    return caching_task


def test_refresh_cache_reruns_and_updates_the_record():
    refreshing, reading = _counting(refresh_cache=True), _counting()
    assert (refreshing(), refreshing()) == (0, 1)
    assert reading() == 1


def test_the_refresh_setting_refreshes_all_tasks_but_those_that_say_no():
    plain, steadfast = _counting(), _counting(refresh_cache=False)
    with temporary_settings({"FLOWSTONE_TASKS_REFRESH_CACHE": True}):
        assert steadfast() == 0, "no record yet, so it may write one"
        assert steadfast() == 0
        assert (plain(), plain()) == (0, 1)
        assert steadfast() == 1, "it reads what the others wrote and does not update it"


def test_the_refresh_setting_can_come_from_the_environment(script):
    text = """
        import random
        from flowstone import task
        @task(cache_key_fn=lambda context, parameters: "static cache key")
        def caching_task():
            return random.random()
        print(caching_task())
    """
    first = script(text)
    assert script(text) == first
    second = script(text, FLOWSTONE_TASKS_REFRESH_CACHE="true")
    assert second != first
    assert script(text) == second
