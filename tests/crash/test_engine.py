"""The engine killed at every effect of every path: the store is whole, no lock is held, of a group all or nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from flowstone import flow, task
from flowstone.cache_policies import CachePolicy
from flowstone.context import NO_SCOPE, current_scope
from flowstone.exceptions import CommitError, StoreError
from flowstone.filesystems import LocalFileSystem
from flowstone.housekeeping import FaultKind, check
from flowstone.results import ResultStore
from flowstone.runs import TaskRun
from flowstone.testing import CrashDriver, Killed, ManualClock, kill_process, temporary_store
from flowstone.transactions import atransaction, transaction

KEYS = ("a", "b", "c", "outer", "block")
UNDONE: list[str] = []
RUNS: list[TaskRun] = []


@pytest.fixture(autouse=True)
def nothing_seen_yet():
    UNDONE.clear()
    RUNS.clear()


def keyed(key, fn=None, *, serial=False, **options):
    """A task whose record is named `key`; its runs and undoings are noted."""
    policy = CachePolicy.from_cache_key_fn(lambda *_: key)
    return task(
        name=key,
        cache_policy=policy.configure(isolation_level="SERIALIZABLE") if serial else policy,
        on_running=[lambda task, run, state: RUNS.append(run)],
        on_commit=[lambda txn: None],
        on_rollback=[lambda txn: UNDONE.append(key)],
        **options,
    )(fn or (lambda: key.upper()))


def _nested(serial):
    a, b = keyed("a", serial=serial), keyed("b", serial=serial)
    return keyed("outer", lambda: a() + b() + a(), serial=serial)


def _twice(work):
    return work(), work()


def _retried():
    tries, a = [], keyed("a")

    def body():
        tries.append(1)
        value = a()
        if len(tries) == 1:
            raise ValueError("the first attempt fails")
        return value

    return keyed("outer", body, retries=1, retry_delay_seconds=5)()


def _group(**options):
    with transaction(**options):
        return keyed("a")() + keyed("b")() + keyed("c")()


def _blocks(**options):
    with transaction(key="block", **options) as txn:
        if txn.is_committed():
            return txn.read().result
        with transaction():
            value = keyed("a", serial=True)() + keyed("b")()
        txn.stage(value)
        return value


def _generator(serial=False):
    def count():
        yield keyed("a")()
        yield "end"

    return list(keyed("outer", count, serial=serial)())


def _flow():
    @flow
    def around():
        with transaction():
            return keyed("a")() + keyed("b")()

    return around()


def _of(value):
    async def give():
        await asyncio.sleep(0)
        return value

    return give


async def _agroup():
    async with atransaction(key="block", isolation_level="SERIALIZABLE") as txn:
        value = await keyed("a", _of("A"), serial=True)() + await keyed("b", _of("B"))()
        txn.stage(value)
        return value


async def _agenerator():
    async def count():
        yield await keyed("a", _of("A"))()
        yield "end"

    return [item async for item in keyed("outer", count, serial=True)()]


# A path, what it gives, and which of its records are visible together or not at all.
PATHS: dict[str, tuple[Callable[[], object], object, set[str]]] = {
    "miss": (lambda: keyed("a")(), "A", {"a"}),
    "hit": (lambda: _twice(keyed("a")), ("A", "A"), {"a"}),
    "locked": (lambda: _twice(keyed("a", serial=True)), ("A", "A"), {"a"}),
    "nested": (lambda: _nested(False)(), "ABA", {"a", "b", "outer"}),
    "nested and locked": (lambda: _nested(True)(), "ABA", {"a", "b", "outer"}),
    "retry": (_retried, "A", {"a", "outer"}),
    "group": (_group, "ABC", {"a", "b", "c"}),
    "locked group": (lambda: _group(isolation_level="SERIALIZABLE"), "ABC", {"a", "b", "c"}),
    "blocks": (_blocks, "AB", {"a", "b", "block"}),
    "locked blocks": (lambda: _blocks(isolation_level="SERIALIZABLE"), "AB", {"a", "b", "block"}),
    "generator": (_generator, ["A", "end"], {"a", "outer"}),
    "locked generator": (lambda: _generator(True), ["A", "end"], {"a", "outer"}),
    "flow": (_flow, "AB", {"a", "b"}),
    "async miss": (lambda: asyncio.run(keyed("a", _of("A"))()), "A", {"a"}),
    "async group": (lambda: asyncio.run(_agroup()), "AB", {"a", "b", "block"}),
    "async generator": (lambda: asyncio.run(_agenerator()), ["A", "end"], {"a", "outer"}),
}


def effects_of(path: Callable[[], object], expected: object, *, cleanup: bool) -> int:
    with temporary_store(), ManualClock(), CrashDriver(die=kill_process if cleanup else _never) as driver:
        if not cleanup:
            driver._spares_cleanup = True
        assert path() == expected
    return driver.count


def _never() -> None:
    raise AssertionError("nothing is to die")


def visible(store: ResultStore) -> set[str]:
    return {entry.key for entry in store.result_storage.scan()}


def is_whole(store: ResultStore, group: set[str]) -> None:
    """Assert that the store is in order, no key is locked, and the group is there or is not."""
    assert check(store).ok
    assert visible(store) in (set(), group)
    manager = store.lock_manager
    assert manager is not None
    assert [key for key in KEYS if manager.is_locked(key)] == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", PATHS)
def test_an_interrupt_at_any_effect_leaves_a_whole_store_and_no_lock(name, after):
    path, expected, group = PATHS[name]
    for n in range(1, effects_of(path, expected, cleanup=False) + 1):
        UNDONE.clear()
        RUNS.clear()
        with temporary_store() as store, ManualClock():
            with CrashDriver(at=n, after=after) as driver, pytest.raises(Killed):
                path()
            assert driver.fired
            is_whole(store, group)
            assert {fault.kind for fault in check(store).faults} <= {FaultKind.MARKER}, "a marker comes with a record"
            assert current_scope() is NO_SCOPE
            assert all(run.state.is_final() for run in RUNS), f"effect {n}: {RUNS}"
            still_there = visible(store)
            for run in RUNS:
                if run.state.is_rolled_back() or not run.state.is_completed():
                    assert run.task_name in UNDONE, f"effect {n}: {run} was not undone"
                    assert run.task_name not in still_there, f"effect {n}: {run} has a record"
                elif name != "hit":
                    assert run.task_name in still_there, f"effect {n}: {run} has no record"
            assert path() == expected


def dies(work: Callable[[], object]) -> bool:
    """Do `work` in a child; say whether it was killed."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


@pytest.mark.parametrize("name", PATHS)
def test_a_process_killed_at_any_effect_leaves_a_whole_store_and_no_lock(name, tmp_path):
    path, expected, group = PATHS[name]
    for n in range(1, effects_of(path, expected, cleanup=True) + 1):
        with temporary_store(tmp_path / str(n)) as store, ManualClock():
            assert dies(killed_at(n, path)), f"effect {n} was never reached"
            is_whole(store, group)
            check(store, repair=True)
            assert check(store).clean
            assert path() == expected
            assert visible(store) == group


def killed_at(n: int, path: Callable[[], object]) -> Callable[[], object]:
    def work() -> object:
        with CrashDriver(at=n, die=kill_process):
            return path()

    return work


# --- publishing that fails ------------------------------------------------------------------------------------------


class Refusing(LocalFileSystem):
    """A folder that takes nothing in."""

    def put(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise StoreError("refused")

    publish = put  # type: ignore[assignment]


@contextmanager
def refusing_second(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real, count = LocalFileSystem.put, []

    def put(self: LocalFileSystem, *args: object, **kwargs: object) -> object:
        count.append(1)
        if len(count) == 2:
            raise StoreError("refused")
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "put", put)
        yield


def test_a_group_in_two_stores_is_withdrawn_from_the_one_if_the_other_refuses(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    a, b = keyed("a", result_storage=one), keyed("b", result_storage=other)
    with refusing_second(monkeypatch), pytest.raises(CommitError, match="refused"), transaction():
        a()
        b()
    assert sorted(UNDONE) == ["a", "b"]
    assert visible(ResultStore(result_storage=one)) == visible(ResultStore(result_storage=other)) == set()
    with transaction():
        a()
        b()
    assert visible(ResultStore(result_storage=one)) == {"a"}
    assert visible(ResultStore(result_storage=other)) == {"b"}


def test_what_another_wrote_meanwhile_is_not_withdrawn(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    mine = keyed("a", result_storage=one)
    theirs = keyed("a", lambda: "theirs", result_storage=one, refresh_cache=True)

    class Sly(Refusing):
        def put(self, *_: object, **__: object) -> None:  # type: ignore[override]
            theirs.fn()
            ResultStore(result_storage=one).write("theirs", "a")
            raise StoreError("refused")

    with pytest.raises(CommitError), transaction():
        mine()
        keyed("b", result_storage=Sly(other))()
    assert ResultStore(result_storage=one).read("a").result == "theirs"


def test_the_paths_are_all_there():
    """A path that no longer reaches the engine would prove nothing."""
    for name, (path, expected, _) in PATHS.items():
        assert effects_of(path, expected, cleanup=True) >= 5, name
