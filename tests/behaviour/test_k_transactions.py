"""Section K: the ends, orders and hooks of transactions."""

from __future__ import annotations

import os
import sys

import pytest

from flowstone import task
from flowstone.exceptions import CommitError, ConfigurationError
from flowstone.filesystems import NullFileSystem
from flowstone.results import ResultStore
from flowstone.transactions import (
    CommitMode,
    IsolationLevel,
    Transaction,
    TransactionState,
    get_transaction,
    transaction,
)


def keyed(key, fn=None, **options):
    return task(cache_key_fn=lambda *_: key, **options)(fn or (lambda: key.upper()))


def test_the_names_are_those_people_know():
    assert [mode.name for mode in CommitMode] == ["EAGER", "LAZY", "OFF"]
    assert [level.name for level in IsolationLevel] == ["READ_COMMITTED", "SERIALIZABLE"]
    assert [state.name for state in TransactionState] == ["PENDING", "ACTIVE", "STAGED", "COMMITTED", "ROLLED_BACK"]


def test_a_transaction_without_a_key_writes_nothing(records):
    with transaction() as txn:
        txn.stage("value")
        assert txn.is_staged()
    assert txn.is_committed()
    assert records() == []


def test_commit_and_rollback_count_once():
    with transaction(key="k") as txn:
        assert txn.commit() is True
        assert txn.commit() is False
        assert txn.rollback() is False
    assert txn.is_committed()


def test_staging_twice_keeps_the_last_value_and_both_hooks():
    log = []
    with transaction(key="k") as txn:
        txn.stage(1, on_commit_hooks=[lambda t: log.append(1)])
        txn.stage(2, on_commit_hooks=[lambda t: log.append(2)])
    assert log == [1, 2]
    with transaction(key="k") as again:
        again.stage(3)
        assert again.read().result == 2


@pytest.mark.parametrize(
    ("outer", "inner", "at_once"),
    [
        ("LAZY", "EAGER", True),
        ("OFF", "EAGER", True),
        ("LAZY", "OFF", False),
        ("EAGER", "OFF", False),
        ("EAGER", "LAZY", False),
        ("EAGER", None, True),
        ("LAZY", None, False),
    ],
)
def test_when_a_child_of_each_mode_commits(outer, inner, at_once, records):
    with transaction(commit_mode=outer):
        with transaction(key="k", commit_mode=inner):
            pass
        assert records() == (["k"] if at_once else [])
    assert records() == ["k"]


def test_tasks_take_the_mode_of_the_block_around_them(records):
    runs = []
    work = keyed("k", on_completion=[lambda t, r, s: runs.append(r)])
    with transaction(commit_mode="OFF"):
        work()
    assert runs[0].state.name == "RolledBack"
    assert records() == []
    with transaction(commit_mode="EAGER"):
        work()
        assert records() == ["k"]


def test_undoing_goes_from_the_last_to_the_first_each_its_own_hooks_reversed():
    log = []

    def hooks(name):
        return [lambda t: log.append(f"{name}.1"), lambda t: log.append(f"{name}.2")]

    with pytest.raises(ValueError), transaction() as txn:
        txn.on_rollback_hooks += hooks("txn")
        for name in "ab":
            keyed(name, on_rollback=hooks(name))()
        raise ValueError
    assert log == ["txn.2", "txn.1", "b.2", "b.1", "a.2", "a.1"]


def test_rollback_hooks_run_for_work_that_never_staged():
    log = []
    with pytest.raises(ZeroDivisionError):
        keyed("k", lambda: 1 / 0, on_rollback=[lambda t: log.append("undone")])()
    assert log == ["undone"]


def test_commit_hooks_run_before_anything_is_visible(records):
    seen = []
    keyed("k", on_commit=[lambda t: seen.append(records())])()
    assert seen == [[]]


def test_values_are_there_after_the_block_and_hidden_from_parents_and_siblings():
    with transaction() as outer:
        with transaction() as one:
            one.set("x", 1)
        with transaction() as two:
            assert two.get("x", None) is None
        assert outer.get("x", None) is None
    assert one.get("x") == 1
    with pytest.raises(ValueError):
        two.get("x")


def test_isolation_is_taken_from_the_block_around():
    with transaction(isolation_level="SERIALIZABLE"), transaction() as inner:
        assert inner.isolation_level is IsolationLevel.SERIALIZABLE
        seen = task(lambda: get_transaction().isolation_level)()
    assert seen is IsolationLevel.SERIALIZABLE


def test_serializable_where_nobody_can_lock_is_refused_and_without_a_key_it_is_nothing():
    store = ResultStore(result_storage=NullFileSystem())
    if store.lock_manager is not None:
        pytest.fail("a storage that keeps nothing has nothing to lock")
    with pytest.raises(ConfigurationError, match="lock manager"), transaction("k", store, None, "SERIALIZABLE"):
        raise AssertionError("the body must not run")
    assert get_transaction() is None
    with transaction(isolation_level="SERIALIZABLE") as txn:
        pass
    assert txn.is_committed()


def test_hooks_that_fail_at_commit_name_what_happened():
    with pytest.raises(CommitError, match="ValueError: told to"), transaction():
        keyed("k", on_commit=[lambda t: (_ for _ in ()).throw(ValueError("told to"))])()


def test_transactions_print_what_they_are():
    txn = Transaction("k")
    assert repr(txn) == "Transaction(key='k', state=PENDING, children=0)"


def test_a_process_that_ends_in_a_commit_hook_leaves_nothing(records):
    pid = os.fork()
    if not pid:
        with transaction():
            keyed("a")()
            keyed("b", on_commit=[lambda t: os._exit(7)])()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert records() == []
