"""A prune removes what the rules say and nothing else, and never what is in use or was written meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone import housekeeping
from flowstone.exceptions import ConfigurationError, StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.filesystems.base import Stamp
from flowstone.housekeeping import Because, Outcome, RecordState, Selection
from flowstone.locking.memory import MemoryLockManager
from flowstone.signing import Keyring

House = Any
NOW = 4_000_000_000.0
DAY = 86400.0
THEIRS = Keyring.from_text("theirs")


def prune(house: House, **rules: Any) -> housekeeping.PruneReport:
    return housekeeping.prune(house.store, now=NOW, **rules)


def set_used(folder: Path, key: str, days_ago: float) -> None:
    modified = (folder / key).stat().st_mtime - 400 * DAY
    os.utime(folder / key, (NOW - days_ago * DAY, modified))


# --- the rules


def test_what_is_older_than_it_may_be_goes(house: House) -> None:
    house.write("old", created=NOW - 3 * DAY)
    house.write("new", created=NOW - 1 * DAY)
    report = prune(house, older_than=2 * DAY)

    assert house.keys() == {"new"}
    assert [(each.victim.key, each.victim.because, each.outcome) for each in report.removals] == [
        ("old", Because.AGE, Outcome.REMOVED)
    ]
    assert (report.records, report.removed) == (2, 1)


def test_what_has_expired_goes(house: House) -> None:
    house.write("gone", expires=NOW - 1)
    house.write("later", expires=NOW + 1)
    house.write("never")

    assert prune(house, expired=True).removed == 1
    assert house.keys() == {"later", "never"}


def test_what_was_not_used_for_long_goes(local: House, folder: Path) -> None:
    for key, days in (("a", 1), ("b", 30)):
        local.write(key)
        set_used(folder, key, days)

    assert prune(local, unused_for=10 * DAY).removals[0].victim.because is Because.UNUSED
    assert local.keys() == {"a"}


def test_each_rule_condemns_by_itself(house: House) -> None:
    house.write("expired", expires=NOW - 1)
    house.write("old", created=NOW - 9 * DAY)
    house.write("fine")

    assert prune(house, expired=True, older_than=5 * DAY).removed == 2
    assert house.keys() == {"fine"}


def test_the_least_recently_used_go_first_until_the_rest_fits(local: House, folder: Path) -> None:
    for key, days in (("a", 4), ("b", 1), ("c", 3), ("d", 2)):
        local.write(key, b"x" * 1000)
        set_used(folder, key, days)
    size = local.entry("a").size
    report = prune(local, max_bytes=2 * size + size // 2)

    assert [each.victim.key for each in report.removals] == ["a", "c"]
    assert local.keys() == {"b", "d"}
    assert report.over_budget == 0


def test_by_cost_what_is_quickest_to_compute_for_its_bytes_goes_first(house: House) -> None:
    house.write("quick", b"x" * 1000, duration=1)
    house.write("slow", b"x" * 1000, duration=100)
    house.write("large", b"x" * 100_000, duration=50)
    house.write("tiny", b"x", duration=1)

    assert [each.victim.key for each in prune(house, max_bytes=0, by="cost", dry_run=True).removals] == [
        "large",
        "quick",
        "tiny",
        "slow",
    ]
    prune(house, max_bytes=3000, by="cost")
    assert house.keys() == {"slow", "tiny"}


def test_a_budget_that_is_kept_removes_nothing(house: House) -> None:
    house.write()
    assert prune(house, max_bytes=house.entry().size).removed == 0


def test_what_the_other_rules_remove_counts_for_the_budget(house: House) -> None:
    house.write("old", b"x" * 1000, created=NOW - 9 * DAY)
    house.write("new", b"x" * 1000)

    prune(house, older_than=DAY * 5, max_bytes=house.entry("new").size)
    assert house.keys() == {"new"}


def test_a_task_narrows_the_rules_and_the_budget(house: House) -> None:
    house.write("a", task_name="load", created=NOW - 9 * DAY)
    house.write("b", task_name="load", expires=NOW + 9)
    house.write("c", task_name="train", created=NOW - 9 * DAY)

    prune(house, task="load", older_than=5 * DAY)
    assert house.keys() == {"b", "c"}
    prune(house, task="load", max_bytes=0)
    assert house.keys() == {"c"}


def test_a_task_or_selection_alone_condemns_its_records(house: House) -> None:
    house.write("a", task_name="load")
    house.write("b", task_name="train")
    house.write("c")

    assert prune(house, task="load").removals[0].victim.because is Because.CHOSEN
    prune(house, where=Selection(keys={"c"}))
    assert house.keys() == {"b"}


def test_a_prune_that_is_told_nothing_is_refused(house: House) -> None:
    house.write()
    with pytest.raises(ConfigurationError, match="what may go"):
        prune(house)
    assert house.keys() == {"k"}


@pytest.mark.parametrize(
    "rules", [{"max_bytes": -1}, {"older_than": -1}, {"unused_for": float("nan")}, {"max_bytes": 1, "by": "luck"}]
)
def test_rules_that_make_no_sense_are_refused(house: House, rules: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        prune(house, **rules)


def test_a_dry_run_says_what_a_prune_does_and_does_nothing(house: House) -> None:
    for number in range(5):
        house.write(f"k{number}", created=NOW - number * DAY, duration=2)
    dry = prune(house, older_than=2 * DAY, dry_run=True)

    assert len(house.keys()) == 5
    wet = prune(house, older_than=2 * DAY)
    assert {each.victim.key for each in dry.removals} == {each.victim.key for each in wet.removals}
    assert {each.outcome for each in dry.removals} == {Outcome.PLANNED}
    assert (dry.removed, dry.freed, dry.seconds_lost) == (wet.removed, wet.freed, wet.seconds_lost) == (3, wet.freed, 6)


def test_what_is_not_ours_is_neither_counted_nor_removed(local: House) -> None:
    local.write("theirs", b"x" * 10_000, ring=THEIRS, created=0)
    local.write("broken", created=0)
    local.flip(200, "broken")
    local.put_raw(b"dear to somebody", "notes.txt")
    local.write("fine")
    report = prune(local, older_than=1, max_bytes=0)

    assert local.keys() == {"theirs", "broken", "notes.txt"}
    assert report.others == {RecordState.FOREIGN: 1, RecordState.DAMAGED: 1, RecordState.STRAY: 1}
    assert report.records == 1


def test_both_halves_of_a_record_go(split: House) -> None:
    split.write()
    prune(split, older_than=0)

    assert split.storage.stamp("k") is None
    assert split.payloads.stamp("k") is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3000), st.floats(0, 9)), max_size=12),
    st.integers(0, 20_000),
    st.sampled_from(["lru", "cost"]),
)
def test_a_budget_is_kept_by_removing_no_more_than_it_takes(
    records: list[tuple[float, int, float]], budget: int, by: str
) -> None:
    from flowstone.records import RecordInfo
    from flowstone.results import ResultStore

    store = ResultStore(MemoryFileSystem(), keyring=THEIRS)
    for number, (age, size, duration) in enumerate(records):
        info = RecordInfo(f"k{number}", NOW - age, duration=duration)
        store.publish([store.stage(info, b"x" * size)])
    report = housekeeping.prune(store, max_bytes=budget, by=by, now=NOW)
    left = housekeeping.stats(store, now=NOW).total

    assert left.bytes <= budget
    assert left.records == len(records) - report.removed
    if report.removals:
        assert left.bytes + report.removals[-1].victim.size > budget


# --- while others read and write


def test_a_record_whose_key_is_locked_is_in_use_and_stays(local: House) -> None:
    local.write()
    manager = local.store.lock_manager
    manager.acquire_lock("k", "a run")
    try:
        (removal,) = prune(local, older_than=0).removals
    finally:
        manager.release_lock("k", "a run")

    assert removal.outcome is Outcome.IN_USE
    assert local.keys() == {"k"}
    assert prune(local, older_than=0).removed == 1


def test_a_prune_leaves_no_lock_behind(local: House) -> None:
    local.write()
    prune(local, older_than=0)
    assert not local.store.lock_manager.is_locked("k")


def test_a_removal_holds_the_lock_so_that_nobody_computes_the_record_meanwhile(make_house: type[House]) -> None:
    class Watched(MemoryFileSystem):
        locked: list[bool] = []

        def delete(self, key: str) -> bool:
            self.locked.append(MemoryLockManager().is_locked(key))
            return super().delete(key)

    storage = Watched()
    house = make_house(storage)
    house.write()
    prune(house, older_than=0)

    assert storage.locked == [True]


class Interrupted(LocalFileSystem):
    """A folder in which something happens right before the nth question for the stamp of a record."""

    def arm(self, nth: int, happens: Callable[[], object]) -> None:
        self.left, self.happens = nth, happens

    def stamp(self, key: str) -> Stamp | None:
        left, self.left = getattr(self, "left", 0), getattr(self, "left", 0) - 1
        if left == 1:
            self.happens()
        return super().stamp(key)


@pytest.mark.parametrize("moment", [1, 2])
def test_a_record_that_is_refreshed_between_the_verdict_and_the_removal_stays(
    make_house: type[House], tmp_path: Path, moment: int
) -> None:
    storage = Interrupted(tmp_path)
    house = make_house(storage)
    house.write(value="old", created=NOW - 9 * DAY)
    storage.arm(moment, lambda: house.write(value="new", created=NOW))
    (removal,) = prune(house, older_than=DAY).removals

    assert removal.outcome is Outcome.CHANGED
    assert house.value() == "new"


@pytest.mark.parametrize("moment", [1, 2])
def test_a_record_that_goes_between_the_verdict_and_the_removal_is_gone(
    make_house: type[House], tmp_path: Path, moment: int
) -> None:
    storage = Interrupted(tmp_path)
    house = make_house(storage)
    house.write(created=NOW - 9 * DAY)
    storage.arm(moment, lambda: storage.delete("k"))
    report = prune(house, older_than=DAY)

    assert report.removals[0].outcome in (Outcome.GONE, Outcome.CHANGED)
    assert report.removed == 0


def test_a_plan_holds_for_the_versions_it_saw_however_late_it_is_carried_out(house: House) -> None:
    for key in ("a", "b", "c"):
        house.write(key, "old", created=NOW - 9 * DAY)
    plan = housekeeping.plan_prune(house.store, older_than=DAY, now=NOW)
    house.write("b", "new", created=NOW)
    report = housekeeping.carry_out(house.store, plan)

    assert house.keys() == {"b"}
    assert house.value("b") == "new"
    assert [each.victim.key for each in report.stayed] == ["b"]


def test_a_reader_keeps_the_mapped_file_that_is_removed_under_it(local: House) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(500_000)
    local.write(value=array)
    mapped = local.store.lookup("k", NOW).load(mmap=True)

    assert prune(local, older_than=0).removed == 1
    assert (mapped == array).all()
    assert mapped.sum() == array.sum()


def test_readers_and_writers_see_nothing_but_whole_records_and_misses_while_it_is_pruned(local: House) -> None:
    keys = [f"k{number}" for number in range(8)]
    over = threading.Event()
    wrong: list[object] = []

    def refresh() -> None:
        turn = 0
        while not over.is_set():
            for key in keys:
                local.write(key, (key, b"x" * 5000), created=NOW - turn % 3)
            turn += 1

    def read() -> None:
        while not over.is_set():
            for key in keys:
                value = local.value(key)
                if value is not None and value != (key, b"x" * 5000):
                    wrong.append(value)

    threads = [threading.Thread(target=work) for work in (refresh, read)]
    for thread in threads:
        thread.start()
    try:
        outcomes: list[Outcome] = []
        while len(outcomes) < 50 or Outcome.REMOVED not in outcomes:
            outcomes += [each.outcome for each in prune(local, older_than=1).removals]
    finally:
        over.set()
        for thread in threads:
            thread.join()

    assert not wrong
    assert Outcome.FAILED not in outcomes
    assert Outcome.REMOVED in outcomes


def test_what_cannot_be_removed_is_reported_and_the_rest_goes_on(make_house: type[House]) -> None:
    class Stubborn(MemoryFileSystem):
        def delete(self, key: str) -> bool:
            if key == "b":
                raise StoreError("the disk is read-only")
            return super().delete(key)

    house = make_house(Stubborn())
    for key in ("a", "b", "c"):
        house.write(key)
    report = prune(house, older_than=0)

    assert house.keys() == {"b"}
    ((victim, outcome, detail),) = report.stayed
    assert (victim.key, outcome) == ("b", Outcome.FAILED)
    assert "read-only" in detail


def test_records_are_removed_one_by_one_as_the_caller_goes_on(house: House) -> None:
    for key in ("a", "b"):
        house.write(key)
    victims = [housekeeping.Victim.of(house.entry(key), Because.CHOSEN) for key in ("a", "b")]
    removals = housekeeping.remove(house.store, victims)

    assert next(removals).outcome is Outcome.REMOVED
    assert house.keys() == {"b"}
    assert [each.outcome for each in removals] == [Outcome.REMOVED]


def test_a_chosen_record_goes_whatever_is_wrong_with_it(local: House) -> None:
    local.write("theirs", ring=THEIRS)
    local.put_raw(b"", "empty")
    local.write("broken")
    local.flip(300, "broken")
    victims = [housekeeping.Victim.of(entry, Because.CHOSEN) for entry in local.entries().values()]

    assert {each.outcome for each in housekeeping.remove(local.store, victims)} == {Outcome.REMOVED}
    assert local.keys() == set()
