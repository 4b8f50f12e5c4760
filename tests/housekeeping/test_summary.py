"""Statistics count what a listing lists."""

from __future__ import annotations

from typing import Any

from flowstone import housekeeping
from flowstone.housekeeping import RecordState, Selection
from flowstone.housekeeping.summary import AGES
from flowstone.signing import Keyring

House = Any
NOW = 4_000_000_000.0
DAY = 86400.0
THEIRS = Keyring.from_text("theirs")


def test_records_are_counted_in_all_by_state_task_and_age(house: House) -> None:
    house.write("a", b"x" * 100, task_name="load", task_module="jobs", duration=2, created=NOW - 60)
    house.write("b", b"x" * 200, task_name="load", task_module="jobs", duration=3, created=NOW - 2 * DAY)
    house.write("c", b"x" * 900, task_name="train", duration=5, created=NOW - 900 * DAY, expires=NOW - 1)
    house.write("d", b"x" * 300, created=NOW - 60)
    house.write("e", ring=THEIRS)
    stats = housekeeping.stats(house.store, now=NOW)
    sizes = {key: entry.size for key, entry in house.entries().items()}

    assert (stats.total.records, stats.total.seconds) == (4, 10)
    assert stats.total.bytes == sum(sizes[key] for key in "abcd")
    assert {state: count.records for state, count in stats.by_state.items()} == {
        RecordState.FRESH: 3,
        RecordState.EXPIRED: 1,
        RecordState.FOREIGN: 1,
    }
    assert list(stats.by_task) == ["train", "jobs.load", ""]
    assert stats.by_task["jobs.load"].bytes == sizes["a"] + sizes["b"]
    assert [count.records for count in stats.by_age] == [2, 0, 1, 0, 0, 0, 1]
    assert (stats.oldest, stats.newest) == (NOW - 900 * DAY, NOW - 60)
    assert stats.last_used is not None


def test_an_age_at_a_boundary_belongs_to_the_older_group(memory: House) -> None:
    for number, age in enumerate(AGES):
        memory.write(f"k{number}", created=NOW - age)

    assert [count.records for count in housekeeping.stats(memory.store, now=NOW).by_age] == [0, 1, 1, 1, 1, 1, 1]


def test_an_empty_store_has_no_times(house: House) -> None:
    stats = housekeeping.stats(house.store, now=NOW)
    assert (stats.total.records, stats.oldest, stats.newest, stats.last_used) == (0, None, None, None)


def test_a_selection_limits_what_is_counted(memory: House) -> None:
    memory.write("a", task_name="load")
    memory.write("b", task_name="train")

    assert housekeeping.stats(memory.store, Selection(task="load"), now=NOW).total.records == 1
