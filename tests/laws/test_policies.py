"""The laws of cache policies: a policy is a set of ingredients, `+` is union, NONE its identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.cache_policies import (
    CODE,
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    Call,
    CompoundCachePolicy,
    Inputs,
)
from flowstone.exceptions import ConfigurationError
from flowstone.locking.memory import MemoryLockManager
from flowstone.tasks import Task


def first_key(context, parameters):
    return f"first-{parameters.get('x')}"


def second_key(context, parameters):
    return None if parameters.get("x") == 3 else "second"


@Task
def some_task(x=0, y=0, **rest):
    return x, y, rest


@Task
def other_task(x=0, y=0, **rest):
    return y, x, rest


FIRST, SECOND = CacheKeyFnPolicy(first_key), CacheKeyFnPolicy(second_key)
SIMPLE = [
    INPUTS,
    INPUTS - "x",
    INPUTS - "y",
    INPUTS - "z",
    INPUTS - "x" - "y",
    TASK_SOURCE,
    CODE,
    FLOW_PARAMETERS,
    RUN_ID,
    NONE,
    FIRST,
    SECOND,
]
policies = st.recursive(
    st.sampled_from(SIMPLE), lambda inner: st.builds(lambda a, b: a + b, inner, inner), max_leaves=5
)
calls = st.builds(
    lambda task, x, y, rest, flow, run: Call(task, {"x": x, "y": y, "rest": rest}, flow, lambda: run, lambda: None),
    st.sampled_from([some_task, other_task]),
    st.integers(0, 4),
    st.integers(0, 2),
    st.dictionaries(st.sampled_from(["z", "w"]), st.integers(0, 2)),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(["p", "q"]), st.integers(0, 2))),
    st.sampled_from(["run-1", "run-2", None]),
)


def key(policy: CachePolicy, call: Call) -> str | None:
    return policy.plan(call).key


@given(policies, policies, policies, calls)
def test_a_sum_is_associative(a, b, c, call):
    assert key((a + b) + c, call) == key(a + (b + c), call)
    assert (a + b) + c == a + (b + c)


@given(policies, policies, calls)
def test_a_sum_is_commutative(a, b, call):
    assert key(a + b, call) == key(b + a, call)
    assert a + b == b + a
    assert hash(a + b) == hash(b + a)


@given(policies, calls)
def test_a_sum_is_idempotent_and_none_is_its_identity(a, call):
    assert key(a + a, call) == key(a, call)
    assert a + a == a
    assert key(a + NONE, call) == key(NONE + a, call) == key(a, call)
    assert a + NONE == NONE + a == a


@given(policies, policies, calls, calls)
def test_adding_an_ingredient_never_makes_two_calls_share_a_key_that_did_not_before(a, b, one, two):
    before = key(a, one), key(a, two)
    after = key(a + b, one), key(a + b, two)
    if None not in before and before[0] != before[1] and None not in after:
        assert after[0] != after[1]


@given(policies, st.sampled_from(["x", "y", "z"]), calls, st.integers(0, 4))
def test_an_excluded_input_does_not_count_however_it_arrives(policy, name, call, value):
    fewer = policy - name
    if any(isinstance(one, CacheKeyFnPolicy) for one in fewer.ingredients):
        return
    rest = dict(call.inputs["rest"])
    changed = {**call.inputs, "rest": rest}
    (changed if name in ("x", "y") else rest)[name] = value
    other = Call(call.task, changed, call.flow_parameters, call.run_id, call.context)
    assert key(fewer, call) == key(fewer, other)


def a_call(**inputs):
    return Call(None, inputs, None, lambda: "run", lambda: None)


def test_exclusions_intersect_so_a_sum_is_never_weaker_than_its_parts():
    assert (INPUTS - "a") + (INPUTS - "b") == INPUTS
    assert INPUTS + (INPUTS - "x") == INPUTS
    assert (INPUTS - "a" - "b") + (INPUTS - "b" - "c") == INPUTS - "b"


def test_an_excluded_input_that_arrives_through_kwargs_does_not_count():
    plan = (INPUTS - "debug").plan
    with_debug = Call(some_task, {"x": 1, "y": 2, "rest": {"debug": True}}, None, lambda: None, lambda: None)
    without = Call(some_task, {"x": 1, "y": 2, "rest": {}}, None, lambda: None, lambda: None)
    assert plan(with_debug).key == plan(without).key


def test_subtracting_takes_names_and_leaves_policies_without_inputs_alone():
    assert TASK_SOURCE - "x" is TASK_SOURCE
    assert DEFAULT - "x" == (INPUTS - "x") + TASK_SOURCE + RUN_ID
    with pytest.raises(TypeError, match="name of an input"):
        INPUTS - 1
    with pytest.raises(TypeError):
        INPUTS + "x"


def test_none_and_no_cache_are_one_and_never_give_a_key():
    assert NONE is NO_CACHE
    assert NONE.plan(a_call(x=1)).key is None
    assert NONE.configure(isolation_level="SERIALIZABLE").plan(a_call(x=1)).key is None
    assert CompoundCachePolicy([NONE, NONE]) == NONE


def test_options_survive_addition_and_subtraction_and_conflicts_are_errors():
    locks = MemoryLockManager()
    serial = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=locks)
    for policy in (serial - "x", serial + TASK_SOURCE, TASK_SOURCE + serial, serial + NONE, NONE + serial):
        assert policy.isolation_level == "SERIALIZABLE"
        assert policy.lock_manager is locks
    assert (NONE.configure(isolation_level="SERIALIZABLE") + INPUTS).isolation_level == "SERIALIZABLE"
    assert INPUTS.isolation_level is None
    relaxed = TASK_SOURCE.configure(isolation_level="READ_COMMITTED")
    with pytest.raises(ConfigurationError, match="isolation_level"):
        serial + relaxed
    assert serial.configure().isolation_level == "SERIALIZABLE"
    with pytest.raises(ConfigurationError, match="READ_COMMITTED"):
        INPUTS.configure(isolation_level="total")


def test_a_plan_names_every_part_and_gives_the_reason_when_there_is_no_key():
    plan = DEFAULT.plan(Call(some_task, {"x": 1, "y": 2}, None, lambda: "run-1", lambda: None))
    names = [part.name for part in plan.parts]
    assert [name for name in names if not name.startswith("code:")] == ["inputs:x", "inputs:y", "run", "source"]
    assert len({part.digest for part in plan.parts[:2]}) == 2
    assert INPUTS.plan(a_call()).reason == "the task has no inputs"
    assert "none" in NONE.plan(a_call(x=1)).reason.lower()
    assert "first_key" in repr(FIRST)


def test_the_same_call_has_the_same_digest_for_the_same_part():
    one = INPUTS.plan(a_call(x=[1, 2], y="a")).parts
    two = INPUTS.plan(a_call(x=[1, 2], y="b")).parts
    assert one[0] == two[0]
    assert one[1] != two[1]


def test_a_policy_answers_compute_key_without_a_run():
    assert INPUTS.compute_key(None, {"x": 1}, {}) == INPUTS.compute_key(None, {"x": 1}, {"flow": 1})
    assert FLOW_PARAMETERS.compute_key(None, {}, {"p": 1}) is not None
    assert FLOW_PARAMETERS.compute_key(None, {}, {}) is None
    assert RUN_ID.compute_key(None, {}, {}) is None


def test_run_id_and_flow_parameters_with_nothing_to_say_are_left_out_of_a_sum():
    without_run = Call(None, {"x": 1}, None, lambda: None, lambda: None)
    assert key(INPUTS + RUN_ID + FLOW_PARAMETERS, without_run) == key(INPUTS, without_run)


def test_policies_print_as_they_are_written():
    assert repr(DEFAULT) == "INPUTS + TASK_SOURCE + RUN_ID"
    assert repr(INPUTS - "x") == "INPUTS - 'x'"
    assert repr(NONE) == "NONE"
    assert repr(Inputs(exclude=["b", "a"])) == "INPUTS - 'a' - 'b'"


def test_a_policy_of_ones_own_must_say_how_to_compute_a_key():
    class Empty(CachePolicy):
        pass

    with pytest.raises(ConfigurationError, match="compute_key"):
        Empty().plan(a_call(x=1))
