"""Sections D and E: hits, what a record may be, when it expires."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone import flow, task
from flowstone.cache_policies import INPUTS
from flowstone.filesystems import LocalFileSystem
from flowstone.settings import temporary_settings
from flowstone.testing import ManualClock, assert_cached, assert_ran


def keyed(fn, **options):
    return task(cache_key_fn=lambda *_: "k", **options)(fn)


def test_a_hit_is_cached_by_name_completed_by_type_and_without_a_message():
    work = keyed(lambda: 1)
    work()
    state = work(return_state=True)
    assert (state.name, state.type.value, state.message) == ("Cached", "COMPLETED", None)
    assert str(state) == "Cached(type=COMPLETED)"
    assert state.is_completed()
    assert state.is_cached()


def test_every_hit_gives_a_value_of_its_own():
    work = keyed(lambda: {"v": [1]})

    @flow
    def around():
        work()["v"].append("poison")
        work()["v"].append("poison")
        return work()

    assert around() == {"v": [1]}


@pytest.mark.parametrize("damage", [b"", b"not a record", None], ids=["empty", "garbage", "truncated"])
def test_a_damaged_record_is_a_miss_and_is_overwritten(home, damage):
    work = keyed(lambda: "value")
    work()
    path = home / "storage" / "k"
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    with assert_ran(work):
        assert work() == "value"
    with assert_cached(work):
        assert work() == "value"


def test_a_tampered_payload_is_never_returned(home):
    work = keyed(lambda: "value")
    work()
    path = home / "storage" / "k"
    data = bytearray(path.read_bytes())
    at = data.rindex(b"value")
    data[at : at + 5] = b"VALUE"
    path.write_bytes(data)
    with assert_ran(work):
        assert work() == "value"


def test_the_reader_uses_the_serializer_that_the_record_names():
    keyed(lambda: [1, 2], result_serializer="json")()
    assert keyed(lambda: "never", result_serializer="pickle")() == [1, 2]


def test_with_json_a_dict_that_looks_like_an_object_stays_a_dict():
    looks = {"__class__": "datetime.date", "data": "2020-01-01"}
    work = keyed(lambda: looks, result_serializer="json")
    work()
    with assert_cached():
        assert work() == looks


def test_with_a_key_storage_a_lost_payload_is_a_miss(tmp_path):
    policy = INPUTS.configure(key_storage=LocalFileSystem(tmp_path / "heads"))
    work = task(cache_policy=policy, result_storage=tmp_path / "payloads")(lambda x: [x])
    work(1)
    with assert_cached():
        work(1)
    (payload,) = [p for p in (tmp_path / "payloads").iterdir() if p.is_file() and not p.name.startswith(".")]
    payload.unlink()
    with assert_ran():
        assert work(1) == [1]
    with assert_cached():
        assert work(1) == [1]


def test_what_another_refreshed_in_the_meantime_is_seen_in_the_same_flow_run():
    values = iter(["v1", "v2"])
    work = keyed(lambda: next(values))

    @flow
    def around():
        return work(), work.with_options(refresh_cache=True)(), work()

    assert around() == ("v1", "v2", "v2")


# --- expiration and refresh -----------------------------------------------------------------------------------------


def test_a_stricter_reader_also_applies_its_own_limit():
    runs = []
    lasting = keyed(lambda: runs.append(1) or len(runs), cache_expiration=timedelta(days=10))
    strict = lasting.with_options(cache_expiration=timedelta(hours=1))
    with ManualClock() as clock:
        assert (lasting(), strict()) == (1, 1)
        clock.advance(timedelta(hours=2))
        assert lasting() == 1
        assert strict() == 2, "too old for this reader"
        clock.advance(timedelta(hours=2))
        assert lasting() == 3, "what the strict one wrote holds for an hour, for everyone"


def test_a_record_expires_to_the_second_and_is_overwritten(records):
    work = keyed(lambda: 1, cache_expiration=timedelta(seconds=10))
    with ManualClock() as clock:
        work()
        clock.advance(9.9)
        with assert_cached():
            work()
        clock.advance(0.1)
        with assert_ran():
            work()
        with assert_cached():
            work()
    assert records() == ["k"]


def test_a_refresh_that_fails_leaves_the_old_record():
    good = keyed(lambda: "old")
    good()
    with pytest.raises(ZeroDivisionError):
        keyed(lambda: 1 / 0, refresh_cache=True)()
    with assert_cached():
        assert good() == "old"


def test_a_refreshing_task_runs_each_time_and_ends_completed():
    work = keyed(lambda: 1, refresh_cache=True)
    assert [work(return_state=True).name for _ in range(2)] == ["Completed", "Completed"]


def test_refreshing_alone_records_nothing(records):
    task(refresh_cache=True)(lambda: 1)()
    with temporary_settings({"FLOWSTONE_TASKS_REFRESH_CACHE": True}):
        task(lambda: 1)()
    assert records() == []
