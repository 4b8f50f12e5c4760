"""What a flow is and does: runs, names, parameters, retries, timeouts, hooks, results, nesting."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from flowstone import Flow, flow, task
from flowstone.context import FlowRunContext
from flowstone.exceptions import ConfigurationError, FlowRunTimeoutError, ParameterTypeError
from flowstone.runtime import flow_run
from flowstone.settings import temporary_settings
from flowstone.states import Completed, Failed, StateType

pytest.importorskip("pydantic", reason="parameters are coerced where pydantic is installed")


def test_a_flow_is_named_after_its_function_with_dashes_and_each_run_has_a_name_of_its_own():
    @flow
    def nightly_report():
        return flow_run.name

    assert nightly_report.name == "nightly-report"
    assert len({nightly_report() for _ in range(3)}) == 3
    assert flow(name="own")(nightly_report.fn).name == "own"


def test_run_names_come_from_templates_and_functions():
    @flow(flow_run_name="day-{day}")
    def report(day):
        return flow_run.name

    assert report(3) == "day-3"
    assert report.with_options(flow_run_name=lambda: "computed")(3) == "computed"


def test_parameters_are_coerced_by_annotation_and_failures_end_the_run_failed():
    @flow
    def add(a: int, b: list[int], c="untouched"):
        return a, b, c, flow_run.parameters

    assert add("5", ["1"]) == (5, [1], "untouched", {"a": 5, "b": [1], "c": "untouched"})
    state = add("five", [], return_state=True)
    assert state.is_failed()
    with pytest.raises(ParameterTypeError, match="- a:"):
        add("five", [])
    plain = add.with_options(validate_parameters=False)
    assert plain("5", "x")[:2] == ("5", "x")


def test_what_is_of_its_type_already_is_passed_on_as_it_is():
    @dataclass
    class Own:
        x: int

    given = Own(1)

    @flow
    def keep(own: Own, anything: object, many: list):
        return own, many

    many = [1]
    assert keep(given, 2, many)[0] is given
    assert keep(given, 2, many)[1] is many


def test_positional_only_and_variable_parameters_survive_coercion():
    @flow
    def mixed(a: int, /, b: int, *rest, c: int = 3, **more):
        return a, b, rest, c, more

    assert mixed("1", "2", 9, c="4", d=5) == (1, 2, (9,), 4, {"d": 5})


def test_task_parameters_are_never_coerced():
    @task
    def same(x: int):
        return x

    assert same("5") == "5"


def test_retries_keep_the_run_id_so_tasks_of_the_failed_attempt_hit():
    runs, ids = [], []

    @task
    def work(x):
        runs.append(x)
        return x

    @flow(retries=1, persist_result=True)
    def flaky():
        ids.append(flow_run.id)
        work(1)
        if len(ids) == 1:
            raise ValueError
        return flow_run.run_count

    assert flaky() == 2
    assert ids[0] == ids[1]
    assert runs == [1]


def test_the_settings_give_retries_to_flows_that_do_not_say():
    tries = []

    @flow
    def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise ValueError

    with temporary_settings({"FLOWSTONE_FLOWS_DEFAULT_RETRIES": 2}):
        flaky()
    assert len(tries) == 3


def test_a_flow_that_takes_too_long_times_out():
    @flow(timeout_seconds=0.1)
    def slow():
        time.sleep(3)

    @flow(timeout_seconds=0.05)
    async def aslow():
        await asyncio.sleep(3)

    state = slow(return_state=True)
    assert (state.name, state.type) == ("TimedOut", StateType.FAILED)
    assert state.message == "Flow run exceeded timeout of 0.1 second(s)"
    with pytest.raises(FlowRunTimeoutError):
        asyncio.run(aslow())


def test_hooks_of_each_ending():
    told = []

    def hook(kind):
        return [lambda f, r, s: told.append((kind, f.name, s.name))]

    def body(error=None):
        if error:
            raise error

    watched = Flow(
        body,
        name="w",
        on_running=hook("running"),
        on_completion=hook("completion"),
        on_failure=hook("failure"),
        on_crashed=hook("crashed"),
        on_cancellation=hook("cancellation"),
    )
    watched()
    with pytest.raises(ValueError):
        watched(ValueError())
    with pytest.raises(KeyboardInterrupt):
        watched(KeyboardInterrupt())
    assert [kind for kind, *_ in told] == ["running", "completion", "running", "failure", "running", "crashed"]

    @flow(on_cancellation=hook("cancellation"))
    async def slow():
        await asyncio.sleep(5)

    async def story():
        job = asyncio.create_task(slow())
        await asyncio.sleep(0.05)
        job.cancel()
        await job

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(story())
    assert told[-1] == ("cancellation", "slow", "Cancelled")


def test_the_last_state_follows_what_is_returned():
    @flow
    def custom():
        return Completed(data=1, name="Custom")

    @flow
    def plain():
        return {"a": 1}

    assert custom() == 1
    assert custom(return_state=True).name == "Custom"
    assert plain(return_state=True).result() == {"a": 1}


def test_returned_states_decide_and_a_dict_of_them_does_not():
    @flow
    def returns(kind):
        bad, good = Failed(message="no"), Completed(data=1)
        return {"state": bad, "list": [good, bad], "dict": {"a": bad}, "good": [good, good]}[kind]

    assert returns("state", return_state=True).message == "no"
    assert returns("list", return_state=True).message == "1/2 states failed."
    assert returns("dict", return_state=True).is_completed()
    assert returns("good", return_state=True).is_completed()


def test_subflows_have_runs_of_their_own_and_know_their_parents():
    seen = {}

    @flow
    def child():
        seen["child"] = (flow_run.id, flow_run.parent_flow_run_id, flow_run.root_flow_run_id)

    @task
    def between():
        child()
        assert FlowRunContext.get().flow.name == "parent"

    @flow
    def parent():
        seen["parent"] = flow_run.id
        between()

    parent()
    own, up, root = seen["child"]
    assert own != seen["parent"]
    assert up == root == seen["parent"]


def test_persistence_is_inherited_from_the_flow_and_the_outer_task(records):
    @task
    def plain(x):
        return x

    @task(persist_result=True)
    def outer():
        plain(1)

    @flow(persist_result=True)
    def on():
        plain(1)

    @flow(persist_result=False)
    def off():
        plain(1)

    outer()
    assert len(records()) == 2
    on()
    assert len(records()) == 3
    with temporary_settings({"FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT": True}):
        off()
    assert len(records()) == 3
    with temporary_settings({"FLOWSTONE_TASKS_DEFAULT_PERSIST_RESULT": False}):
        on()
    assert len(records()) == 3


def test_a_flows_storage_and_serializer_serve_its_tasks(tmp_path):
    @task
    def work():
        return 1

    @flow(result_storage=tmp_path / "flow", result_serializer="json")
    def around():
        work()

    around()
    assert [p for p in (tmp_path / "flow").iterdir() if not p.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retires": 1}, "did you mean 'retries'"),
        ({"retries": -1}, "0 or more"),
        ({"on_crashed": 1}, "list of functions"),
        ({"timeout_seconds": "1"}, "seconds"),
        ({"cache_policy": None}, "has no option 'cache_policy'"),
    ],
)
def test_an_option_that_cannot_work_is_an_error_when_decorating(options, told):
    with pytest.raises(ConfigurationError, match=told):
        flow(**options)(lambda: None)


def test_generators_and_what_cannot_be_called_cannot_be_flows():
    def gen():
        yield 1

    with pytest.raises(ConfigurationError, match="generators"):
        flow(gen)
    with pytest.raises(ConfigurationError, match="a function"):
        flow(3)


def test_the_version_is_given_or_a_digest_of_the_file():
    @flow(version="7")
    def given(): ...

    @flow
    def digested(): ...

    assert given.version == "7"
    assert len(digested.version) == 32
