"""Selections are a Boolean algebra, and what the listing tells of them is what the record would."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.exceptions import ConfigurationError
from flowstone.housekeeping import EVERYTHING, RecordEntry, RecordState, Selection, Where
from flowstone.records import RecordInfo, open_head, seal
from flowstone.signing import Keyring

NOW = 1000.0
RING = Keyring.from_text("ours")

keys = st.text("ab/", min_size=1, max_size=4)
moments = st.floats(0, NOW)
spans = st.none() | st.floats(0, NOW)
sizes = st.none() | st.integers(0, 20)
tasks = st.sampled_from(["", "load", "train"])


def make_entry(
    key: str, size: int, created: float, used: float, state: RecordState, task: str, run: str
) -> RecordEntry:
    info = RecordInfo(key, created, task_name=task, task_module="jobs" if task else "", task_run_id=run)
    head = open_head(seal(info, b"", [], RING.writing, serializer="json").head, key, RING.reading)
    return RecordEntry(key, size, created, used, state, "", head, b"")


entries = st.builds(
    make_entry,
    keys,
    st.integers(0, 20),
    moments,
    moments,
    st.sampled_from(RecordState),
    tasks,
    st.sampled_from(["r1", "r2"]),
)
leaves = st.builds(
    Selection,
    prefix=st.text("ab/", max_size=2),
    glob=st.none() | st.sampled_from(["*", "a*", "?", "[ab]*"]),
    keys=st.none() | st.sets(keys, max_size=3),
    task=st.none() | st.sampled_from(["load", "jobs.load", "jobs.*", "*"]),
    run=st.none() | st.sampled_from(["r1", "r3"]),
    older_than=spans,
    newer_than=spans,
    unused_for=spans,
    larger_than=sizes,
    smaller_than=sizes,
    states=st.none() | st.sets(st.sampled_from(RecordState)),
)
selections = st.recursive(
    leaves,
    lambda inner: (
        st.builds(lambda a, b: a & b, inner, inner)
        | st.builds(lambda a, b: a | b, inner, inner)
        | st.builds(lambda a: ~a, inner)
    ),
    max_leaves=6,
)


@given(selections, selections, entries)
def test_joined_selections_hold_as_logic_says(a: Where, b: Where, entry: RecordEntry) -> None:
    in_a, in_b = a.holds(entry, NOW), b.holds(entry, NOW)

    assert (a & b).holds(entry, NOW) is (in_a and in_b)
    assert (a | b).holds(entry, NOW) is (in_a or in_b)
    assert (~a).holds(entry, NOW) is not in_a
    assert (~(a & b)).holds(entry, NOW) == (~a | ~b).holds(entry, NOW)
    assert (a & EVERYTHING).holds(entry, NOW) is in_a


@given(selections, entries)
def test_what_the_listing_tells_is_what_the_record_tells(a: Where, entry: RecordEntry) -> None:
    truth = a.holds(entry, NOW)

    assert a.sees(entry.key, entry.size, entry.used, NOW) in (None, truth)
    assert a.sees(entry.key, None, entry.used, NOW) in (None, truth)


@given(selections, entries)
def test_what_a_selection_holds_for_begins_with_its_prefix(a: Where, entry: RecordEntry) -> None:
    assert not a.holds(entry, NOW) or entry.key.startswith(a.scan_prefix())


@given(leaves, entries)
def test_a_selection_holds_for_what_fits_each_of_its_fields(selection: Selection, entry: RecordEntry) -> None:
    blank = Selection()
    one_by_one = [
        Selection(**{field.name: getattr(selection, field.name)})
        for field in dataclasses.fields(selection)
        if getattr(selection, field.name) != getattr(blank, field.name)
    ]

    assert selection.holds(entry, NOW) == all(each.holds(entry, NOW) for each in one_by_one)


@pytest.mark.parametrize(
    "selection", [Selection(prefix="a"), Selection(larger_than=5, keys={"a"}), Selection(unused_for=3)]
)
def test_key_size_and_use_need_no_record_to_be_opened(selection: Selection) -> None:
    assert selection.sees("ab", 9, NOW - 5, NOW) is not None
    assert selection.sees("zz", 1, NOW, NOW) is False


def test_bounds_belong_to_what_they_bound() -> None:
    entry = make_entry("k", 10, NOW - 60, NOW - 30, RecordState.FRESH, "load", "r1")

    assert Selection(older_than=60, newer_than=60, unused_for=30, larger_than=10, smaller_than=10).holds(entry, NOW)
    assert not Selection(older_than=60.1).holds(entry, NOW)
    assert not Selection(newer_than=59.9).holds(entry, NOW)
    assert not Selection(larger_than=11).holds(entry, NOW)


@pytest.mark.parametrize("name", ["load", "jobs.load", "lo*", "jobs.*", "*.load"])
def test_a_task_is_known_by_its_name_its_full_name_and_patterns_of_both(name: str) -> None:
    assert Selection(task=name).holds(make_entry("k", 1, 0, 0, RecordState.FRESH, "load", ""), NOW)


def test_no_task_name_fits_a_record_that_no_task_made() -> None:
    assert not Selection(task="*").holds(make_entry("k", 1, 0, 0, RecordState.FRESH, "", ""), NOW)


def test_selections_are_equal_by_what_they_say_and_cannot_be_changed() -> None:
    assert Selection(keys=["a", "b"], states=[RecordState.FRESH]) == Selection(
        keys={"b", "a"}, states={RecordState.FRESH}
    )
    assert len({Selection(prefix="a") & Selection(), Selection(prefix="a") & Selection()}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        Selection().prefix = "a"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["older_than", "newer_than", "unused_for", "larger_than", "smaller_than"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_bound_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Selection(**{name: value})
