"""Transactions: what is staged becomes visible together, or is undone together."""

from __future__ import annotations

import asyncio
import threading

import pytest

from flowstone import flow, task
from flowstone.cache_policies import INPUTS
from flowstone.exceptions import CommitError, KeyPathError, MissingResult, RollBackError
from flowstone.results import ResultStore
from flowstone.transactions import (
    CommitMode,
    IsolationLevel,
    TransactionState,
    atransaction,
    get_transaction,
    transaction,
)


def keyed(key, fn=None, **options):
    return task(cache_key_fn=lambda *_: key, **options)(fn or (lambda: key.upper()))


# --- the block ------------------------------------------------------------------------------------------------------


def test_the_defaults_are_lazy_read_committed_and_written_on_commit():
    with transaction() as txn:
        assert txn.is_active()
        assert (txn.commit_mode, txn.isolation_level, txn.write_on_commit) == (
            CommitMode.LAZY,
            IsolationLevel.READ_COMMITTED,
            True,
        )
        assert get_transaction() is txn
    assert txn.is_committed()
    assert get_transaction() is None


def test_nothing_is_visible_before_the_outermost_block_ends(records):
    with transaction():
        with transaction():
            keyed("a")()
        assert records() == []
    assert records() == ["a"]


def test_an_exception_that_leaves_the_block_undoes_it(records):
    with pytest.raises(ZeroDivisionError), transaction() as txn:
        keyed("a")()
        _ = 1 / 0
    assert txn.is_rolled_back()
    assert records() == []


def test_a_failure_handled_inside_does_not_undo_siblings(records):
    undone = []
    a, bad = keyed("a"), keyed("bad", lambda: 1 / 0)
    a.on_rollback(lambda txn: undone.append("a"))
    bad.on_rollback(lambda txn: undone.append("bad"))
    with transaction() as txn:
        a()
        assert bad(return_state=True).is_failed()
        with pytest.raises(ZeroDivisionError):
            bad()
    assert txn.is_committed()
    assert undone == ["bad", "bad"]
    assert records() == ["a"]


def test_a_retried_attempt_is_a_savepoint(records):
    undone, tries = [], []
    a, inner = keyed("a"), keyed("inner")
    a.on_rollback(lambda txn: undone.append("a"))
    inner.on_rollback(lambda txn: undone.append("inner"))

    @task(cache_key_fn=lambda *_: "b", retries=1)
    def b():
        inner()
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("flaky")
        return 2

    with transaction() as txn:
        a()
        assert b() == 2
    assert undone == ["inner"]
    assert txn.is_committed()
    assert records() == ["a", "b", "inner"]


def test_an_explicit_rollback_undoes_and_later_work_in_the_block_with_it(records):
    undone = []
    a, late = keyed("a"), keyed("late")
    a.on_rollback(lambda txn: undone.append("a"))
    late.on_rollback(lambda txn: undone.append("late"))
    with transaction() as txn:
        a()
        assert txn.rollback() is True
        assert txn.rollback() is False
        assert txn.commit() is False
        late()
    assert undone == ["a", "late"]
    assert records() == []


def test_a_block_cannot_be_entered_twice():
    txn = transaction()
    with txn, pytest.raises(RuntimeError, match="entered already"), txn:
        pass


def test_keyboard_interrupt_undoes_too(records):
    with pytest.raises(KeyboardInterrupt), transaction():
        keyed("a")()
        raise KeyboardInterrupt
    assert records() == []


# --- reads see own writes -------------------------------------------------------------------------------------------


def test_the_same_call_twice_in_a_transaction_runs_once():
    runs = []

    @task(cache_policy=INPUTS)
    def work(x):
        runs.append(x)
        return [x]

    with transaction():
        first, second = work(1), work(1)
    assert runs == [1]
    assert first == second
    assert first is not second


def test_the_same_call_twice_in_an_outer_task_runs_once():
    runs = []

    @task(cache_policy=INPUTS)
    def inner(x):
        runs.append(x)
        return x

    @task(cache_policy=INPUTS)
    def outer(x):
        return inner(x), inner(x), inner(x, return_state=True).name

    assert outer(1) == (1, 1, "Cached")
    assert runs == [1]


def test_what_was_rolled_back_is_not_seen_any_more():
    runs = []

    @task(cache_policy=INPUTS)
    def work(x):
        runs.append(x)

    with transaction():
        with pytest.raises(ValueError), transaction():
            work(1)
            raise ValueError
        work(1)
    assert runs == [1, 1]


def test_a_value_mutated_after_its_task_ended_is_recorded_as_it_was():
    @task(cache_policy=INPUTS)
    def work(x):
        return [x]

    with transaction():
        work(1).append("poison")
        assert work(1) == [1]
    work(1).append("poison")
    assert work(1) == [1]


# --- undo -----------------------------------------------------------------------------------------------------------


def test_all_hooks_run_in_reverse_whatever_each_raises_and_are_reported_together():
    log = []

    def hook(name, fails=False):
        def run(txn):
            log.append(name)
            if fails:
                raise OSError(name)

        return run

    a, b = keyed("a"), keyed("b")
    a.on_rollback(hook("a1"))
    a.on_rollback(hook("a2", fails=True))
    b.on_rollback(hook("b1"))
    b.on_rollback(hook("b2", fails=True))
    with transaction() as txn:
        a()
        b()
        with pytest.raises(RollBackError) as failure:
            txn.rollback()
    assert log == ["b2", "b1", "a2", "a1"]
    assert [str(error) for error in failure.value.__cause__.exceptions] == ["b2", "a2"]


def test_errors_of_rollback_hooks_are_noted_on_the_error_that_caused_the_rollback():
    a = keyed("a")
    a.on_rollback(lambda txn: 1 / 0)
    with pytest.raises(ValueError, match="cause") as failure, transaction():
        a()
        raise ValueError("cause")
    assert any("ZeroDivisionError" in note for note in failure.value.__notes__)


def test_undone_tasks_enter_rolled_back():
    runs = []
    a = keyed("a", on_completion=[lambda task, run, state: runs.append(run)])
    with pytest.raises(ValueError), transaction():
        a()
        raise ValueError
    assert runs[0].state.is_rolled_back()
    assert runs[0].state.name == "RolledBack"


def test_hits_are_not_undone():
    undone = []
    a = keyed("a")
    a.on_rollback(lambda txn: undone.append("a"))
    a()
    with pytest.raises(ValueError), transaction():
        a()
        raise ValueError
    assert undone == []


# --- commit ---------------------------------------------------------------------------------------------------------


def test_commit_hooks_run_in_the_order_the_work_was_done_parents_last():
    log = []

    def outer_body():
        keyed("in1", on_commit=[lambda t: log.append("in1")])()
        keyed("in2", on_commit=[lambda t: log.append("in2")])()

    outer = keyed("outer", outer_body, on_commit=[lambda t: log.append("outer 1"), lambda t: log.append("outer 2")])
    with transaction():
        outer()
        keyed("z", on_commit=[lambda t: log.append("z")])()
        assert log == []
    assert log == ["in1", "in2", "outer 1", "outer 2", "z"]


def test_hits_run_no_commit_hooks():
    log = []
    a = keyed("a", on_commit=[lambda t: log.append("a")])
    a()
    a()
    assert log == ["a"]


def test_a_failing_commit_hook_undoes_the_whole_group_and_reaches_the_user(records):
    undone = []
    a = keyed("a", on_rollback=[lambda t: undone.append("a")])
    b = keyed("b", on_commit=[lambda t: 1 / 0], on_rollback=[lambda t: undone.append("b")])
    with pytest.raises(CommitError, match="ZeroDivisionError") as failure, transaction() as txn:
        a()
        b()
    assert isinstance(failure.value.__cause__, ZeroDivisionError)
    assert txn.is_rolled_back()
    assert undone == ["b", "a"]
    assert records() == []


def test_a_value_that_cannot_be_recorded_undoes_the_whole_group(records):
    undone = []
    a = keyed("a", on_rollback=[lambda t: undone.append("a")])
    b = keyed("b", threading.Lock)
    with pytest.raises(CommitError, match="lock"), transaction():
        a()
        b()
    assert undone == ["a"]
    assert records() == []


def test_a_lone_task_whose_commit_hook_fails_still_returns_its_value(records, caplog):
    a = keyed("a", on_commit=[lambda t: 1 / 0])
    assert a() == "A"
    assert "was not recorded" in caplog.text
    assert records() == []


def test_a_store_that_cannot_be_written_undoes_a_group_and_tells_the_user(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    undone = []
    a = keyed("a", on_rollback=[lambda t: undone.append("a")], result_storage=in_the_way)
    with pytest.raises(CommitError), transaction():
        a()
        keyed("b", result_storage=in_the_way)()
    assert undone == ["a"]


# --- modes ----------------------------------------------------------------------------------------------------------


def test_an_eager_child_commits_at_once_and_is_not_undone_with_its_parent(records):
    undone = []
    a = keyed("a", on_rollback=[lambda t: undone.append("a")])
    with pytest.raises(ValueError), transaction():
        with transaction(commit_mode=CommitMode.EAGER):
            a()
        assert records() == ["a"]
        raise ValueError
    assert records() == ["a"]
    assert undone == []


def test_a_lazy_child_of_an_eager_parent_waits_for_it(records):
    with transaction(commit_mode="eager"):
        with transaction(commit_mode="lazy"):
            keyed("a")()
        assert records() == []
    assert records() == ["a"]


def test_an_off_root_undoes_unless_it_was_committed(records):
    with transaction(commit_mode=CommitMode.OFF) as off:
        keyed("a")()
    assert off.is_rolled_back()
    assert records() == []
    with transaction(commit_mode=CommitMode.OFF) as committed:
        keyed("a")()
        assert committed.commit() is True
    assert committed.is_committed()
    assert records() == ["a"]


def test_an_unknown_mode_is_refused_at_once():
    with pytest.raises(ValueError, match="EAGER"):
        transaction(commit_mode="soon")
    with pytest.raises(ValueError, match="SERIALIZABLE"):
        transaction(isolation_level="total")


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_keyed_transaction_is_committed_already_the_second_time(records):
    with transaction(key="once") as txn:
        assert not txn.is_committed()
        txn.stage({"done": True})
    assert records() == ["once"]
    with transaction(key="once") as again:
        assert again.is_committed()
        assert again.read().result == {"done": True}


def test_a_keyed_block_that_stages_nothing_records_none(records):
    with transaction(key="once"):
        pass
    with transaction(key="once") as again:
        assert again.is_committed()
        assert again.read().result is None


def test_tasks_called_in_a_committed_block_are_still_recorded(records):
    with transaction(key="once"):
        pass
    with transaction(key="once"):
        keyed("a")()
    assert records() == ["a", "once"]


def test_overwrite_ignores_the_record():
    for value in (1, 2):
        with transaction(key="once", overwrite=True) as txn:
            assert not txn.is_committed()
            txn.stage(value)
    with transaction(key="once") as txn:
        assert txn.read().result == 2


def test_write_on_commit_false_writes_nothing(records):
    with transaction(key="once", write_on_commit=False) as txn:
        txn.stage(1)
    assert txn.is_committed()
    assert records() == []


def test_a_key_that_would_leave_the_store_is_refused_on_entry(records):
    for key in ("../evil", "/abs", "a/../../b", ".", "nul\0"):
        with pytest.raises(KeyPathError), transaction(key=key):
            raise AssertionError("the body must not run")


def test_reading_a_key_without_a_record_says_so():
    with transaction(key="nothing") as txn:
        with pytest.raises(MissingResult, match="nothing"):
            txn.read()
    with transaction() as keyless:
        assert keyless.read() is None


def test_a_store_of_its_own_is_used(tmp_path):
    store = ResultStore(result_storage=tmp_path / "own")
    with transaction(key="k", store=store) as txn:
        txn.stage(7)
    assert (tmp_path / "own" / "k").exists()
    assert store.read("k").result == 7


# --- values ---------------------------------------------------------------------------------------------------------


def test_set_and_get_go_by_copy_and_look_in_the_parents():
    given = [1]
    with transaction() as outer:
        outer.set("x", given)
        given.append(2)
        with transaction() as inner:
            got = inner.get("x")
            assert got == [1]
            got.append(3)
            inner.set("x", "inner")
            assert inner.get("x") == "inner"
        assert outer.get("x") == [1]
        with pytest.raises(ValueError, match="'y'"):
            outer.get("y")
        assert outer.get("y", None) is None
    assert outer.get("x") == [1]


def test_a_value_that_cannot_be_copied_is_told_when_it_is_asked_for():
    with transaction() as txn:
        txn.set("lock", threading.Lock())
        with pytest.raises(TypeError):
            txn.get("lock")


def test_a_task_sees_its_own_transaction_and_hooks_see_its_values():
    seen = []

    @task(cache_key_fn=lambda *_: "k")
    def work():
        get_transaction().set("note", "from the body")

    work.on_commit(lambda txn: seen.append(txn.get("note")))
    work()
    assert seen == ["from the body"]


# --- async ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [transaction, atransaction])
def test_async_with_serves_as_well(make, records):
    log = []

    @task(cache_key_fn=lambda *_: "a")
    async def a():
        return 1

    async def hook(txn):
        await asyncio.sleep(0)
        log.append("undone")

    a.on_rollback(hook)

    async def good():
        async with make() as txn:
            assert await a() == 1
        return txn.state

    async def bad():
        async with make():
            await a.with_options(refresh_cache=True)()
            raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(bad())
    assert log == ["undone"]
    assert asyncio.run(good()) is TransactionState.COMMITTED
    assert records() == ["a"]


def test_the_steps_of_an_atransaction_are_awaited():
    async def story():
        async with atransaction(key="k") as txn:
            txn.stage(5)
            assert await txn.commit() is True
        async with atransaction(key="k") as again:
            return (await again.read()).result

    assert asyncio.run(story()) == 5
    with pytest.raises(TypeError, match="async with"), atransaction():
        pass


def test_async_rollback_hooks_run_from_sync_blocks_even_inside_a_loop():
    log = []

    async def hook(txn):
        await asyncio.sleep(0)
        log.append("undone")

    a = keyed("a", on_rollback=[hook])

    def block():
        with pytest.raises(ValueError), transaction():
            a()
            raise ValueError

    async def inside_a_loop():
        block()

    block()
    asyncio.run(inside_a_loop())
    assert log == ["undone", "undone"]


def test_a_subflow_joins_the_transaction_around_it(records):
    @flow
    def sub():
        return keyed("a")()

    with pytest.raises(ValueError), transaction():
        sub()
        raise ValueError
    assert records() == []
