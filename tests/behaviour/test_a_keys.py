"""Section A: which calls share a key."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, namedtuple
from datetime import date
from enum import Enum, IntEnum
from io import StringIO

import pytest

from flowstone import flow, quote, task
from flowstone.cache_policies import FLOW_PARAMETERS, INPUTS, TASK_SOURCE
from flowstone.states import Completed

Pair = namedtuple("Pair", "a b")


class Colour(str, Enum):  # noqa: UP042
    RED = "red"


class Number(IntEnum):
    ONE = 1


def key(value):
    return INPUTS.compute_key(None, {"x": value}, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (1, "1"),
        (0.0, -0.0),
        ((1, 2), [1, 2]),
        (Pair(1, 2), (1, 2)),
        ({1: "a"}, {"1": "a"}),
        ({None: "a"}, {"null": "a"}),
        ({True: "a"}, {"true": "a"}),
        (Counter(a=1), {"a": 1}),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (re.compile("a"), re.compile("a", re.I)),
        (date(2020, 1, 1), {"__class__": "datetime.date", "data": "2020-01-01"}),
        (ValueError("a"), TypeError("a")),
        (b"a", "a"),
    ],
)
def test_what_differs_in_type_or_value_has_different_keys(one, other):
    assert key(one) != key(other)


def test_what_is_the_same_has_one_key():
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key({"x", "y", "z"}) == key({"z", "y", "x"})
    assert key(float("nan")) == key(float("nan"))
    shared = ["text"]
    assert key([shared, shared]) == key([["text"], ["text"]])
    assert key(OrderedDict(a=1, b=2)) != key(OrderedDict(b=2, a=1)), "its order counts where its equality says so"


def test_open_files_are_refused_and_never_keyed_by_address(caplog, records):
    work = task(cache_policy=INPUTS)(lambda f: f.read())
    assert work(StringIO("one")) == "one"
    assert work(StringIO("two")) == "two"


def test_argument_names_count_and_the_task_does_not():
    assert key(1) != INPUTS.compute_key(None, {"y": 1}, {})
    one = task(cache_policy=INPUTS)(lambda x: "one")
    other = task(cache_policy=INPUTS)(lambda x: "other")
    assert (one(7), other(7)) == ("one", "one")


def test_states_and_quotes_count_as_what_they_stand_for():
    work = task(cache_policy=INPUTS)(lambda x: x)
    work(5)
    assert work(Completed(data=5), return_state=True).name == "Cached"
    assert work(quote(5), return_state=True).name == "Cached"
    assert work(5, wait_for=[Completed(data=1)], return_state=True).name == "Cached"


def test_closure_values_and_defaults_count_in_the_source():
    def make(n):
        return task(cache_policy=INPUTS + TASK_SOURCE)(lambda x, m=n: x * n)

    assert (make(2)(10), make(3)(10)) == (20, 30)
    two, three = (task(cache_policy=INPUTS + TASK_SOURCE)(f) for f in (lambda x: x + 2, lambda x: x + 3))
    assert (two(1), three(1)) == (3, 4)


def test_source_without_a_file_still_tells_constants_apart():
    results = []
    for value in (42, 43):
        namespace: dict = {}
        exec(f"def fn():\n    return {value}", namespace)
        results.append(task(cache_policy=TASK_SOURCE)(namespace["fn"])())
    assert results == [42, 43]


def test_options_and_comments_do_not_count_in_the_source():
    body = task(cache_policy=TASK_SOURCE)(lambda: 1)
    body()
    assert body.with_options(retries=2, name="other")(return_state=True).name == "Cached"


def test_flow_parameters_are_those_of_the_innermost_flow_and_none_outside(records):
    work = task(cache_policy=FLOW_PARAMETERS)(lambda x: x)

    @flow
    def inner(a=1):
        return work(a)

    @flow
    def outer(a):
        return inner(a + 1), work(a)

    assert outer(1) == (2, 1)
    assert inner(2) == 2, "the inner flow's parameters, whoever called it"
    work(9)
    assert len(records()) == 2, "outside of flows there is no key"


def test_the_key_is_the_file_name_and_a_changed_argument_does_not_change_it(records):
    @task(cache_policy=INPUTS)
    def eat(xs):
        xs.clear()
        return "eaten"

    eat([1, 2])
    assert records() == [INPUTS.compute_key(None, {"xs": [1, 2]}, {})]
