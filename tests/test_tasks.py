"""What a task is and does: names, retries, timeouts, hooks, states, generators, methods, and what bad options get."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from datetime import timedelta

import pytest

from flowstone import State, Task, flow, get_run_logger, tags, task
from flowstone.cache_policies import INPUTS, NO_CACHE, RUN_ID, CachePolicy, Inputs
from flowstone.context import FlowRunContext, TaskRunContext, get_run_context
from flowstone.exceptions import (
    ConfigurationError,
    FailedRun,
    KeyPathError,
    MissingContextError,
    MissingResult,
    ParameterBindError,
    ReservedArgumentError,
    TaskRunTimeoutError,
    UpstreamTaskError,
)
from flowstone.runtime import flow_run, task_run
from flowstone.settings import temporary_settings
from flowstone.states import Completed, Failed, StateType
from flowstone.tasks import exponential_backoff, task_input_hash

# --- calling --------------------------------------------------------------------------------------------------------


def test_bare_and_with_options_sync_and_async_in_and_out_of_flows():
    @task
    def bare(x):
        return x + 1

    @task(name="spelled")
    async def spelled(x):
        return x + 1

    @flow
    def sync_flow():
        return bare(1)

    @flow
    async def async_flow():
        return bare(1) + await spelled(1)

    assert bare(1) == 2
    assert asyncio.run(spelled(1)) == 2
    assert sync_flow() == 2
    assert asyncio.run(async_flow()) == 4
    assert (bare.name, spelled.name) == ("bare", "spelled")


def test_positional_keyword_and_default_spellings_are_the_same_call():
    runs = []

    @task(cache_policy=INPUTS)
    def work(a, b=2, *args, c=3, **kwargs):
        runs.append((a, b, args, c, kwargs))
        return len(runs)

    assert work(1) == work(a=1) == work(1, 2) == work(1, b=2, c=3) == 1
    assert work(1, 2, 9) == 2
    assert work(1, z=0) == 3
    assert work(z=0, a=1) == 3


def test_arguments_that_do_not_fit_are_told_like_python_tells_them():
    @task
    def work(a):
        return a

    with pytest.raises(ParameterBindError, match=r"work\(\) missing 1 required positional argument: 'a'"):
        work()
    with pytest.raises(TypeError, match="unexpected keyword"):
        work(1, b=2)


def test_return_state_gives_the_last_state():
    @task(cache_policy=INPUTS)
    def work(x):
        return x

    first, second = work(1, return_state=True), work(1, return_state=True)
    assert (first.name, first.type, first.result()) == ("Completed", StateType.COMPLETED, 1)
    assert (second.name, second.type, second.result(), second.message) == ("Cached", StateType.COMPLETED, 1, None)


def test_the_cached_state_links_to_the_run_that_made_the_record():
    ids = []

    @task(cache_policy=INPUTS)
    def work(x):
        ids.append(task_run.id)

    work(1)
    state = work(1, return_state=True)
    assert state.state_details.produced_by == ids[0]
    assert state.state_details.cache_key == INPUTS.compute_key(None, {"x": 1}, {})


def test_a_hit_goes_from_pending_to_cached_runs_completion_hooks_and_no_running_hooks():
    told = []
    options = {
        "on_running": [lambda t, r, s: told.append(("running", s.name))],
        "on_completion": [lambda t, r, s: told.append(("completion", s.name, [one.name for one in r.states]))],
    }
    work = task(cache_policy=INPUTS, **options)(lambda x: x)
    work(1)
    work(1)
    assert told == [
        ("running", "Running"),
        ("completion", "Completed", ["Pending", "Running", "Completed"]),
        ("completion", "Cached", ["Pending", "Cached"]),
    ]


def test_none_is_a_value():
    runs = []
    work = task(cache_policy=INPUTS)(lambda x: runs.append(x))
    assert (work(1), work(1, return_state=True).name, work(1)) == (None, "Cached", None)
    assert runs == [1]


def test_raised_exceptions_are_not_cached_and_returned_ones_are():
    runs = []

    @task(cache_policy=INPUTS)
    def work(raises):
        runs.append(raises)
        if raises:
            raise ValueError("raised")
        return ValueError("returned")

    for _ in range(2):
        with pytest.raises(ValueError, match="raised"):
            work(True)
        assert str(work(False)) == "returned"
    assert runs == [True, False, True]


# --- states as return values ----------------------------------------------------------------------------------------


def test_a_returned_failed_state_is_a_failure_and_is_not_recorded(records):
    runs = []

    @task(cache_policy=INPUTS)
    def work(x):
        runs.append(x)
        return Failed(message="bad", data=ValueError("v"))

    for _ in range(2):
        state = work(1, return_state=True)
        assert (state.name, state.message) == ("Failed", "bad")
        with pytest.raises(ValueError, match="v"):
            work(1)
    assert len(runs) == 4
    assert records() == []


def test_a_returned_completed_state_comes_back_as_it_was():
    @task(cache_policy=INPUTS)
    def work(x):
        return Completed(data=x, name="Custom", message="m")

    first, second = work(1), work(1)
    assert isinstance(second, State)
    assert (first.name, first.message, first.result()) == (second.name, second.message, second.result())
    cached = work(1, return_state=True)
    assert (cached.name, cached.message, cached.result()) == ("Cached", "m", 1)


def test_a_list_of_states_fails_if_one_did_not_complete():
    @task(cache_policy=INPUTS)
    def work(x):
        return [Completed(data=1), Failed(message="no")]

    assert work(1, return_state=True).message == "1/2 states failed."
    assert work(1, return_state=True).is_failed()
    with pytest.raises(FailedRun):
        work(1)


def test_a_completed_state_made_without_data_has_no_result():
    with pytest.raises(MissingResult):
        Completed().result()
    assert Completed().data is None


# --- retries --------------------------------------------------------------------------------------------------------


def failing(times, **options):
    tries = []

    @task(**options)
    def work():
        tries.append(time.monotonic())
        if len(tries) <= times:
            raise ValueError(len(tries))
        return len(tries)

    return work, tries


def test_retries_are_extra_attempts_and_go_through_their_states():
    histories = []
    work, _ = failing(2, retries=2, on_completion=[lambda t, r, s: histories.append([x.name for x in r.states])])
    assert work() == 3
    assert histories == [["Pending", "Running", "Retrying", "Retrying", "Completed"]]
    work, tries = failing(3, retries=2)
    with pytest.raises(ValueError, match="3"):
        work()
    assert len(tries) == 3


def test_delays_come_from_a_number_a_list_whose_last_repeats_or_a_function():
    histories = []
    hook = [lambda t, r, s: histories.append([x.name for x in r.states])]
    work, tries = failing(2, retries=2, retry_delay_seconds=[0.01, 0.05], on_completion=hook)
    work()
    assert histories[0] == ["Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"]
    assert tries[2] - tries[1] >= 0.05
    work, tries = failing(1, retries=1, retry_delay_seconds=exponential_backoff(0.02))
    work()
    assert tries[1] - tries[0] >= 0.02
    assert exponential_backoff(2)(3) == [2, 4, 8]


def test_a_condition_decides_and_one_that_fails_means_no_retry():
    seen = []

    def condition(task, run, state):
        seen.append(state.name)
        return isinstance(state.data, ValueError)

    work, tries = failing(1, retries=1, retry_condition_fn=condition)
    assert work() == 2
    assert seen == ["Failed"]
    for bad in (lambda t, r, s: False, lambda t, r, s: 1 / 0):
        work, tries = failing(1, retries=3, retry_condition_fn=bad)
        with pytest.raises(ValueError):
            work()
        assert len(tries) == 1


def test_the_settings_give_retries_to_tasks_that_do_not_say():
    work, _ = failing(1)
    with temporary_settings({"FLOWSTONE_TASKS_DEFAULT_RETRIES": 1}):
        assert work() == 2
    never, tries = failing(1, retries=0)
    with temporary_settings({"FLOWSTONE_TASKS_DEFAULT_RETRIES": 1}), pytest.raises(ValueError):
        never()
    assert len(tries) == 1


def test_the_key_is_computed_once_before_the_body():
    keys = []

    def key(context, parameters):
        keys.append(list(parameters["xs"]))
        return f"k{len(parameters['xs'])}"

    @task(cache_key_fn=key, retries=1)
    def work(xs):
        xs.append("junk")
        if len(xs) == 2:
            raise ValueError
        return len(xs)

    assert work([1]) == 3
    assert keys == [[1]]
    assert work([1], return_state=True).name == "Cached"


def test_a_task_that_changes_its_argument_does_not_change_its_key():
    @task(cache_policy=INPUTS)
    def work(xs):
        xs.append(0)
        return len(xs)

    assert work([1]) == 2
    assert work([1], return_state=True).name == "Cached"


# --- timeouts -------------------------------------------------------------------------------------------------------


def test_a_sync_task_is_interrupted_on_any_thread():
    @task(timeout_seconds=0.1)
    def spin():
        end = time.monotonic() + 5
        while time.monotonic() < end:
            time.sleep(0.005)

    def check():
        began = time.monotonic()
        state = spin(return_state=True)
        states.append(state)
        assert time.monotonic() - began < 3

    states = []
    check()
    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    assert [(s.name, s.type) for s in states] == [("TimedOut", StateType.FAILED)] * 2
    assert states[0].message == "Task run exceeded timeout of 0.1 second(s)"
    with pytest.raises(TaskRunTimeoutError):
        spin()


def test_an_async_task_times_out_and_a_timeout_of_its_own_is_a_plain_failure():
    @task(timeout_seconds=0.05)
    async def slow():
        await asyncio.sleep(5)

    @task(timeout_seconds=5)
    async def raises():
        raise TimeoutError("its own")

    assert asyncio.run(slow(return_state=True)).name == "TimedOut"
    assert asyncio.run(raises(return_state=True)).name == "Failed"


def test_timed_out_attempts_are_retried():
    tries = []

    @task(timeout_seconds=0.1, retries=1)
    def work():
        tries.append(1)
        if len(tries) == 1:
            time.sleep(2)
        return "second"

    assert work() == "second"


# --- interruptions --------------------------------------------------------------------------------------------------


def test_interrupts_pass_through_as_crashed_and_failure_hooks_do_not_run():
    told, runs = [], []

    @task(retries=3, on_failure=[lambda *_: told.append("failure")], on_running=[lambda t, r, s: runs.append(r)])
    def work():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert runs[0].state.name == "Crashed"
    assert told == []


def test_a_cancelled_async_task_is_cancelled_and_cleans_up():
    runs, cleaned = [], []

    @task(cache_policy=INPUTS, on_running=[lambda t, r, s: runs.append(r)])
    async def work(x):
        try:
            await asyncio.sleep(10)
        finally:
            cleaned.append(x)

    async def story():
        job = asyncio.create_task(work(1))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(story())
    assert cleaned == [1]
    assert runs[0].state.name == "Cancelled"


# --- hooks ----------------------------------------------------------------------------------------------------------


def test_hooks_get_task_run_and_state_and_their_errors_are_logged_only(caplog):
    seen = []

    @task(on_completion=[lambda *_: 1 / 0, lambda t, r, s: seen.append((t.name, r.name, s.name))])
    def work():
        return 1

    @work.on_failure
    def never(task, run, state):
        seen.append("failure")

    assert work() == 1
    assert seen == [("work", "work", "Completed")]
    assert "failed in state Completed" in caplog.text


def test_hooks_may_be_async():
    seen = []

    async def hook(task, run, state):
        await asyncio.sleep(0)
        seen.append(state.name)

    work = task(on_completion=[hook])(lambda: 1)
    work()

    @task(on_failure=[hook])
    async def bad():
        raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(bad())
    assert seen == ["Completed", "Failed"]


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cache_polcy": INPUTS}, "did you mean 'cache_policy'"),
        ({"cache_policy": "INPUTS"}, "flowstone.cache_policies"),
        ({"cache_policy": Inputs}, r"Inputs\(\)"),
        ({"cache_expiration": 60}, "timedelta"),
        ({"cache_expiration": timedelta(0)}, "positive"),
        ({"cache_expiration": timedelta(days=-1)}, "positive"),
        ({"cache_key_fn": lambda context: "k"}, "two positional"),
        ({"cache_key_fn": "key"}, "two positional"),
        ({"retries": -1}, "0 or more"),
        ({"retries": 1.5}, "whole number"),
        ({"retry_delay_seconds": "soon"}, "list of numbers"),
        ({"retry_delay_seconds": [1] * 51}, "at most 50"),
        ({"retry_jitter_factor": -1}, "0 or more"),
        ({"retry_condition_fn": 1}, "function"),
        ({"timeout_seconds": -1}, "0 or more"),
        ({"persist_result": "yes"}, "True, False or None"),
        ({"refresh_cache": 1}, "True, False or None"),
        ({"log_prints": 0}, "True, False or None"),
        ({"tags": "one"}, "collection of strings"),
        ({"on_completion": print}, "list of functions"),
        ({"on_failure": ["x"]}, "functions only"),
        ({"on_rollback": [1]}, "functions only"),
    ],
)
def test_an_option_that_cannot_work_is_an_error_when_decorating(options, told):
    with pytest.raises(ConfigurationError, match=told) as error:

        @task(**options)
        def decorated(x):
            return x

    assert "Task 'decorated'" in str(error.value)


def test_what_cannot_be_called_cannot_be_a_task():
    with pytest.raises(ConfigurationError, match="callable"):
        task(5)
    with pytest.raises(ConfigurationError, match="a task already"):
        task(task(lambda x: x))


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_parameter_names_are_refused(name):
    namespace = {}
    exec(f"def work({name}): ...", namespace)
    with pytest.raises(ReservedArgumentError, match=name):
        task(namespace["work"])


def test_with_options_changes_a_copy_and_can_clear():
    original = task(name="a", retries=3, tags=["t"], cache_expiration=timedelta(days=1), version="1")(lambda x: x)
    hooks = []
    original.on_completion(hooks.append)
    changed = original.with_options(name="b", retries=0, tags=[], cache_expiration=None, on_completion=[])
    assert (changed.name, changed.retries, changed.tags, changed.cache_expiration) == ("b", 0, frozenset(), None)
    assert (original.name, original.retries, original.tags) == ("a", 3, frozenset({"t"}))
    assert (changed.version, changed.on_completion_hooks) == ("1", [])
    copied = original.with_options()
    copied.on_completion(print)
    assert original.on_completion_hooks == [hooks.append]
    with pytest.raises(ConfigurationError, match="retries"):
        original.with_options(retires=1)


def test_names_of_runs():
    names = []
    hook = [lambda t, r, s: names.append(r.name)]
    plain = task(on_completion=hook)(lambda x: x).with_options(name="plain")
    by_template = plain.with_options(task_run_name="run-{x}")
    by_function = plain.with_options(task_run_name=lambda: "computed")
    by_parameters = plain.with_options(task_run_name=lambda parameters: f"p{parameters['x']}")

    @flow
    def around():
        plain(1)

    for one in (plain, by_template, by_function, by_parameters):
        one(1)
    around()
    assert names[:4] == ["plain", "run-1", "computed", "p1"]
    assert names[4].startswith("plain-")
    assert len(names[4]) == len("plain-") + 3
    with pytest.raises(ConfigurationError, match="KeyError"):
        plain.with_options(task_run_name="{nobody}")(1)


def test_tags_come_from_the_task_and_the_block_around():
    seen = []
    work = task(tags=["own"], on_completion=[lambda t, r, s: seen.append(set(r.tags))])(lambda: 1)
    with tags("a"), tags("b"):
        work()
    work()
    assert seen == [{"own", "a", "b"}, {"own"}]


# --- keys that are the user's own -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["../evil", "/abs", "a//b", ".", "x" * 300, "nul\0", "tab\t", ".flowstone/x", "~/x", "dir/"]
)
def test_a_key_that_cannot_name_a_record_is_an_error_before_the_body_runs(key, records):
    runs = []
    work = task(cache_key_fn=lambda *_: key)(lambda: runs.append(1))
    with pytest.raises(KeyPathError):
        work()
    assert runs == []
    assert records() == []


def test_a_key_that_is_not_text_is_an_error_before_the_body_runs():
    runs = []
    for key in (1, True, b"bytes", object()):
        with pytest.raises(ConfigurationError, match="string or None"):
            task(cache_key_fn=lambda *_, key=key: key)(lambda: runs.append(1))()
    assert runs == []


def test_a_key_with_slashes_is_a_file_in_folders(records):
    work = task(cache_key_fn=lambda *_: "a/b/c")(lambda: 1)
    work()
    assert records() == ["a/b/c"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_key_function_that_gives_nothing_means_uncached_also_in_a_sum(nothing, records):
    policy = CachePolicy.from_cache_key_fn(lambda *_: nothing)
    for one in (policy, policy + INPUTS, INPUTS + policy):
        task(cache_policy=one)(lambda x: x)(1)
    assert records() == []


def test_a_key_function_that_raises_means_uncached_and_one_warning(records, caplog):
    work = task(cache_key_fn=lambda *_: 1 / 0)(lambda x: x)
    assert [work(1), work(1)] == [1, 1]
    assert caplog.text.count("runs uncached") == 1
    assert "ZeroDivisionError" in caplog.text
    assert records() == []


def test_a_key_function_cannot_change_what_the_task_gets():
    def key(context, parameters):
        parameters["x"] = "changed"
        return "k"

    assert task(cache_key_fn=key)(lambda x: x)(1) == 1


def test_a_storage_key_template_is_the_key(records):
    @task(result_storage_key="{task_run.task_name}-{parameters[x]}.bin")
    def work(x):
        return x

    assert (work(1), work(1, return_state=True).name) == (1, "Cached")
    assert records() == ["work-1.bin"]
    with pytest.raises(ConfigurationError, match="nobody"):
        task(result_storage_key="{nobody}")(lambda: 1)()


def test_a_policy_of_ones_own_gives_the_key_itself(records):
    class ByName(CachePolicy):
        def compute_key(self, task_ctx, inputs, flow_parameters, **kwargs):
            return f"{task_ctx.task.name}-{inputs['x']}" if inputs["x"] else None

    work = task(name="w", cache_policy=ByName())(lambda x: x)
    work(1)
    work(0)
    assert records() == ["w-1"]
    task(cache_policy=ByName() + INPUTS)(lambda x: x)(0)
    assert records() == ["w-1"], "its None is a veto in a sum"


def test_inputs_that_cannot_be_hashed_run_uncached_and_one_warning_says_which(records, caplog):
    work = task(name="work", cache_policy=INPUTS)(lambda cfg: 1)
    for _ in range(2):
        assert work({"session": threading.Lock()}) == 1
    warnings = [r for r in caplog.records if "runs uncached" in r.getMessage()]
    assert len(warnings) == 1
    assert "cfg" in warnings[0].getMessage()
    assert "session" in warnings[0].getMessage()
    assert records() == []


def test_iterators_are_never_consumed():
    @task(cache_policy=INPUTS)
    def total(xs):
        return sum(xs)

    assert total(i for i in [1, 2, 3]) == 6


def test_zero_arguments_under_inputs_alone_have_no_key(records):
    runs = []
    work = task(cache_policy=INPUTS)(lambda: runs.append(1))
    work()
    work()
    assert len(runs) == 2
    assert records() == []


def test_run_id_alone_is_the_key_itself(records):
    @task(cache_policy=RUN_ID)
    def work():
        return 1

    @flow
    def around():
        work()
        assert work(return_state=True).name == "Cached"
        return flow_run.id

    assert [around()] == records()


def test_a_misspelt_exclusion_is_warned_of_when_decorating(caplog):
    task(cache_policy=INPUTS - "debgu")(lambda x, debug=False: x)
    assert "did you mean 'debug'" in caplog.text


# --- bad days -------------------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_costs_one_warning_and_nothing_else(tmp_path, caplog):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    work = task(cache_policy=INPUTS, result_storage=in_the_way)(lambda x: x)
    assert [work(1), work(1)] == [1, 1]
    assert len([r for r in caplog.records if "was not recorded" in r.getMessage()]) == 1


def test_a_result_that_cannot_be_written_costs_one_warning(caplog):
    work = task(cache_policy=INPUTS)(lambda x: threading.Lock())
    assert work(1, return_state=True).name == "Completed"
    work(1)
    assert len([r for r in caplog.records if "was not recorded" in r.getMessage()]) == 1


def test_contradicting_options_mean_no_cache_and_one_warning(caplog, records):
    work = task(cache_policy=INPUTS, persist_result=False)(lambda x: x)
    work(1)
    assert "persist_result=False" in caplog.text
    assert work.cache_policy == NO_CACHE
    assert records() == []


# --- generators -----------------------------------------------------------------------------------------------------


def test_a_generator_task_streams_is_recorded_and_replayed():
    runs = []

    @task(cache_policy=INPUTS)
    def count(n):
        runs.append(n)
        yield from range(n)
        return "end"

    def consume():
        end = yield from count(3)
        ends.append(end)

    ends = []
    assert [list(consume()), list(consume())] == [[0, 1, 2], [0, 1, 2]]
    assert (runs, ends) == ([3], ["end", "end"])


def test_a_generator_left_early_is_not_recorded():
    runs = []

    @task(cache_policy=INPUTS)
    def count(n):
        runs.append(n)
        yield from range(n)

    for item in count(3):
        if item == 1:
            break
    assert list(count(3)) == [0, 1, 2]
    assert list(count(3)) == [0, 1, 2]
    assert runs == [3, 3]


def test_an_async_generator_task_streams_is_recorded_and_replayed():
    runs = []

    @task(cache_policy=INPUTS)
    async def count(n):
        runs.append(n)
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def consume():
        return [item async for item in count(3)]

    assert [asyncio.run(consume()), asyncio.run(consume())] == [[0, 1, 2]] * 2
    assert runs == [3]


def test_values_sent_into_a_generator_reach_it_and_it_is_not_recorded():
    runs = []

    @task(cache_policy=INPUTS)
    def echo(x):
        runs.append(x)
        got = yield x
        yield got

    for _ in range(2):
        stream = echo(1)
        assert next(stream) == 1
        assert stream.send("hi") == "hi"
        assert list(stream) == []
    assert runs == [1, 1]


def test_a_generator_that_raises_raises_to_the_caller_and_is_not_recorded(records):
    @task(cache_policy=INPUTS)
    def bad(x):
        yield x
        raise ValueError("late")

    stream = bad(1)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="late"):
        next(stream)
    assert records() == []
    with pytest.raises(ValueError, match="return_state"):
        bad(1, return_state=True)


# --- methods and other callables ------------------------------------------------------------------------------------


class Scale:
    def __init__(self, factor):
        self.factor = factor

    @task(cache_policy=INPUTS)
    def method(self, x):
        return self.factor * x

    @task
    @classmethod
    def make(cls, factor):
        return cls(factor)

    @classmethod
    @task
    def made(cls, factor):
        return cls(factor)

    @task
    @staticmethod
    def static(x):
        return x + 1

    def __bool__(self):
        return self.factor != 0


class Twice(Scale):
    pass


def test_methods_bind_their_own_object_even_a_falsy_one():
    two, three, zero = Scale(2).method, Scale(3).method, Scale(0).method
    assert (two(10), three(10), zero(10)) == (20, 30, 0)
    assert Scale.method(Scale(5), 2) == 10


def test_class_and_static_methods_work_either_way_round():
    of_base, of_child = Scale.make, Twice.make
    assert (type(of_base(1)), type(of_child(1))) == (Scale, Twice)
    assert type(Twice.made(1)) is Twice
    assert (Scale.static(1), Scale(1).static(1)) == (2, 2)


def test_equal_objects_share_a_record_and_unequal_ones_do_not():
    assert Scale(2).method(7) == 14
    assert Scale(2).method(7, return_state=True).name == "Cached"
    assert Scale(4).method(7, return_state=True).name == "Completed"


def test_partials_callable_objects_and_builtins_can_be_tasks():
    def add(a, b):
        return a + b

    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return x + self.n

    assert task(functools.partial(add, b=2))(1) == 3
    assert Task(Adder(5), name="adder")(1) == 6
    assert task(len)([1, 2]) == 2


# --- logging and context --------------------------------------------------------------------------------------------


def test_log_prints_follows_the_task_then_the_flow_then_the_setting(caplog, capsys):
    caplog.set_level("INFO", logger="flowstone")
    say = task(name="say")(lambda text: print(text))
    loud, silent = say.with_options(log_prints=True), say.with_options(log_prints=False)

    @flow(log_prints=True)
    def around():
        say("followed")
        silent("kept")

    around()
    loud("logged")
    say("printed")
    with temporary_settings({"FLOWSTONE_LOGGING_LOG_PRINTS": True}):
        say("by setting")
    logged = [r.getMessage() for r in caplog.records if r.name == "flowstone.task_runs"]
    assert logged == ["followed", "logged", "by setting"]
    assert capsys.readouterr().out == "kept\nprinted\n"


def test_get_run_logger_needs_a_run():
    with pytest.raises(MissingContextError):
        get_run_logger()
    seen = []
    task(lambda: seen.append(get_run_logger().extra["task_name"]))()
    assert seen == ["<lambda>"]


def test_contexts_are_there_inside_and_gone_outside():
    @task
    def inner():
        context = get_run_context()
        assert isinstance(context, TaskRunContext)
        assert TaskRunContext.get() is context
        return context.task_run_id, context.flow_run_id, context.task

    @flow
    def outer():
        assert isinstance(get_run_context(), FlowRunContext)
        return FlowRunContext.get().flow_run_id, inner()

    flow_run_id, (task_run_id, seen_flow_run_id, seen_task) = outer()
    assert flow_run_id == seen_flow_run_id
    assert task_run_id != flow_run_id
    assert seen_task is inner
    assert TaskRunContext.get() is None
    assert FlowRunContext.get() is None
    with pytest.raises(MissingContextError):
        get_run_context()
    assert (task_run.id, flow_run.parameters, task_run.tags) == (None, {}, [])


def test_the_runtime_can_be_set_by_the_environment_for_tests(monkeypatch):
    monkeypatch.setenv("FLOWSTONE__RUNTIME__FLOW_RUN__NAME", "mocked")
    assert flow_run.name == "mocked"
    with pytest.raises(AttributeError, match="nobody"):
        flow_run.nobody


def test_a_task_input_hash_counts_source_and_inputs():
    first = task(cache_key_fn=task_input_hash)(lambda x: x + 1)
    second = task(cache_key_fn=task_input_hash)(lambda x: x + 2)
    assert (first(1), second(1), first(1, return_state=True).name) == (2, 3, "Cached")


# --- upstreams ------------------------------------------------------------------------------------------------------


def test_states_in_arguments_become_their_results_and_failed_ones_are_refused():
    @task
    def add(a, b):
        return a + sum(b)

    good, bad = Completed(data=1), Failed(data=ValueError("upstream"))
    assert add(good, [good, {"x": good}["x"]]) == 3
    with pytest.raises(UpstreamTaskError) as refused:
        add(bad, [])
    assert isinstance(refused.value.__cause__, ValueError)
    assert add(1, [], return_state=True).result() == 1
    state = add(bad, [], return_state=True)
    assert (state.name, state.type) == ("NotReady", StateType.PENDING)


def test_marks_say_how_an_argument_is_taken():
    from flowstone import allow_failure, quote

    keep = task(lambda x: x)
    state = Completed(data=1)
    assert keep(quote(state)) is state
    assert isinstance(keep(allow_failure(Failed(data=ValueError("e")))), ValueError)


def test_a_hit_that_another_task_wrote_is_announced_once_with_the_remedy(caplog):
    add = task(name="add", cache_policy=INPUTS)(lambda x, y: x + y)
    multiply = task(name="multiply", cache_policy=INPUTS)(lambda x, y: x * y)
    assert (add(3, 4), add(3, 4), multiply(3, 4), multiply(3, 4)) == (7, 7, 7, 7)
    told = [r.getMessage() for r in caplog.records if "was served" in r.getMessage()]
    assert len(told) == 1
    assert "multiply" in told[0]
    assert "add" in told[0]
    assert "TASK_SOURCE" in told[0]
