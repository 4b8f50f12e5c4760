"""Section C: what turns recording on and off."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone import flow, task
from flowstone.cache_policies import DEFAULT, INPUTS, NO_CACHE
from flowstone.settings import temporary_settings


def body(x):
    return x


def names(work):
    @flow
    def twice():
        return [work(1, return_state=True).name for _ in range(2)]

    return twice()


RAN, HIT = ["Completed", "Completed"], ["Completed", "Cached"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, RAN),
        ({"persist_result": True}, HIT),
        ({"cache_policy": DEFAULT}, HIT),
        ({"cache_policy": INPUTS}, HIT),
        ({"cache_key_fn": lambda *_: "k"}, HIT),
        ({"result_storage_key": "k"}, HIT),
        ({"result_serializer": "json"}, HIT),
        ({"result_storage": "memory://behaviour-c"}, HIT),
        ({"cache_expiration": timedelta(days=1)}, RAN),
        ({"refresh_cache": False}, RAN),
        ({"persist_result": False, "cache_policy": INPUTS}, RAN),
        ({"persist_result": True, "cache_policy": None}, RAN),
        ({"persist_result": True, "cache_policy": NO_CACHE}, RAN),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_which_options_record(options, expected):
    assert names(task(**options)(body)) == expected


def test_none_stays_none():
    assert task(cache_policy=None, persist_result=False)(body).cache_policy is None


def setting(name, value=True):
    return temporary_settings({f"FLOWSTONE_{name}": value})


def test_settings_are_read_when_a_task_is_called():
    plain, explicit, kept = task(body), task(cache_policy=INPUTS)(body), task(persist_result=True)(body)
    with setting("RESULTS_PERSIST_BY_DEFAULT"):
        assert names(plain) == HIT
    with setting("TASKS_DEFAULT_PERSIST_RESULT"):
        assert names(plain) == HIT
    with setting("TASKS_DEFAULT_PERSIST_RESULT", False), setting("RESULTS_PERSIST_BY_DEFAULT"):
        assert names(plain) == RAN
        assert names(kept) == HIT
        assert names(explicit) == HIT
    with setting("TASKS_DEFAULT_NO_CACHE"):
        assert names(kept) == RAN
        assert names(explicit)[1] == "Cached"
    with setting("TASKS_DISABLE_CACHING"):
        assert names(explicit) == RAN
    assert names(plain) == RAN


def test_a_flow_or_an_outer_task_that_persists_has_its_tasks_persist():
    plain = task(body)
    for options, expected in (
        ({"persist_result": True}, HIT),
        ({"result_serializer": "json"}, HIT),
        ({"result_storage": "memory://behaviour-c-flow"}, HIT),
        ({"persist_result": False}, RAN),
    ):
        with setting("RESULTS_PERSIST_BY_DEFAULT", options == {"persist_result": False}):
            inside = flow(**options)(lambda: [plain(1, return_state=True).name for _ in range(2)])
            assert inside() == expected, options
    outer = task(persist_result=True)(lambda: [plain(1, return_state=True).name for _ in range(2)])
    assert flow(lambda: outer())() == HIT


def test_failures_leave_no_record(records):
    failing = task(cache_policy=INPUTS)(lambda x: 1 / x)
    with pytest.raises(ZeroDivisionError):
        failing(0)
    with pytest.raises(ZeroDivisionError):
        flow(persist_result=True, name="f")(lambda: failing(0))()
    assert records() == []
