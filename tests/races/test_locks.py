"""Each race of locks, forced: the moment between two steps is held open while another thread or process moves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowstone.exceptions import DeadlockError, LockError
from flowstone.locking.base import holder_path
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.filesystem import DoorFiles, FileSystemLockManager, LockFile
from flowstone.locking.memory import MemoryLockManager
from flowstone.locking.space import LockSpace
from flowstone.locking.table import LockTable
from flowstone.locking.waiting import Waiting as WaitingText

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))

Start = Callable[..., Any]
Waiting = Callable[..., Any]
Processes = Callable[..., list[Any]]


class Gate:
    """Holds a method open at its end: `reached` tells that it is there, `open` lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.open.wait(10)


def resume(waiting: WaitingText[bool]) -> bool | None:
    try:
        next(waiting)
    except StopIteration as end:
        return bool(end.value)
    return None


def interrupt(waiting: WaitingText[bool]) -> None:
    with pytest.raises(KeyboardInterrupt):
        waiting.throw(KeyboardInterrupt)


class TestWaking:
    def test_a_release_between_the_try_and_the_wait_is_not_lost(
        self, monkeypatch: pytest.MonkeyPatch, start: Start, memory_manager: MemoryLockManager
    ) -> None:
        assert memory_manager.acquire_lock("k", "a")
        gate = Gate()
        linger = LockTable.linger

        def slowly(self: LockTable, ticket: Any) -> Any:
            gate()
            return linger(self, ticket)

        monkeypatch.setattr(LockTable, "linger", slowly)
        waiter = start(memory_manager.acquire_lock, "k", "b")
        assert gate.reached.wait(10)
        memory_manager.release_lock("k", "a")
        gate.open.set()
        assert waiter.result()
        memory_manager.release_lock("k", "b")

    def test_a_release_between_the_look_and_the_sleep_is_not_lost(self) -> None:
        space = LockSpace(None, WaitGraph())
        assert resume(space.acquiring("k", "a", None, None)) is True
        waiter = space.acquiring("k", "b", None, None)
        pause = next(waiter)
        space.release("k", "a")
        pause.signal.wait(None)  # returns at once, or this test never ends
        assert resume(waiter) is True

    def test_the_lock_cannot_be_snatched_from_the_one_who_was_woken(self) -> None:
        space = LockSpace(None, WaitGraph())
        assert resume(space.acquiring("k", "a", None, None)) is True
        woken = space.acquiring("k", "b", None, None)
        next(woken)
        space.release("k", "a")
        assert resume(space.acquiring("k", "c", 0, None)) is False
        newcomer = space.acquiring("k", "c", None, None)
        assert resume(newcomer) is None
        assert resume(woken) is True
        assert resume(newcomer) is None
        space.release("k", "b")
        assert resume(newcomer) is True

    def test_all_who_are_woken_and_give_up_pass_it_on(self) -> None:
        space = LockSpace(None, WaitGraph())
        assert resume(space.acquiring("k", "a", None, None)) is True
        waiters = [space.acquiring("k", f"w{number}", None, None) for number in range(5)]
        pauses = [next(waiter) for waiter in waiters]
        space.release("k", "a")
        for waiter, following in zip(waiters[:-1], pauses[1:]):
            interrupt(waiter)
            following.signal.wait(5)
        assert resume(waiters[-1]) is True

    def test_a_grant_that_crosses_a_timeout_is_given_back(self) -> None:
        now = 0.0
        space = LockSpace(None, WaitGraph(), lambda: now)
        assert resume(space.acquiring("k", "a/b", None, None)) is True
        waiter = space.acquiring("k", "a/c", 5, None)
        next(waiter)
        behind = space.acquiring("k", "x", None, None)
        next(behind)
        space.hand_over("k", "a/b", "a")  # lets a/c in, which does not know it yet
        now = 6
        assert resume(waiter) is True  # it has the lock, so it is not told otherwise
        space.release("k", "a/c")
        space.release("k", "a")
        assert resume(behind) is True

    def test_one_who_is_interrupted_after_it_was_let_in_gives_the_lock_back(self) -> None:
        space = LockSpace(None, WaitGraph())
        assert resume(space.acquiring("k", "a/b", None, None)) is True
        waiter = space.acquiring("k", "a/c", None, None)
        assert resume(waiter) is None
        space.hand_over("k", "a/b", "a")  # lets a/c in, which does not know it yet
        interrupt(waiter)
        space.release("k", "a")
        assert not space.is_locked("k")
        assert space.table.entries == {}

    def test_an_heir_that_releases_at_once_does_not_put_out_those_it_let_in(self) -> None:
        space = LockSpace(None, WaitGraph())
        assert resume(space.acquiring("k", "a/b", None, None)) is True
        stranger, waiter = (space.acquiring("k", name, None, None) for name in ("x", "a/c"))
        assert resume(stranger) is None
        assert resume(waiter) is None
        space.hand_over("k", "a/b", "a")
        space.release("k", "a")
        assert resume(stranger) is None
        assert resume(waiter) is True
        space.release("k", "a/c")
        assert resume(stranger) is True

    @pytest.mark.parametrize("alone", [True, False])
    def test_a_parent_that_comes_in_takes_its_waiting_children_along_at_once(self, alone: bool, world: Any) -> None:
        space = LockSpace(None, WaitGraph()) if alone else world.process().space
        assert resume(space.acquiring("k", "x", None, None)) is True
        parent, child = (space.acquiring("k", name, None, None) for name in ("a", "a/b"))
        assert resume(parent) is None
        assert resume(child) is None
        space.release("k", "x")
        assert resume(parent) is True
        space.release("k", "a")
        assert space.is_locked("k")
        assert resume(child) is True


class TestCircles:
    def test_two_who_close_a_circle_at_once_are_not_both_let_wait(
        self, start: Start, memory_manager: MemoryLockManager
    ) -> None:
        for _ in range(50 * ROUNDS):
            barrier = threading.Barrier(2)

            def cross(mine: str, other: str) -> str:
                assert memory_manager.acquire_lock(mine, mine)
                barrier.wait(10)
                try:
                    assert memory_manager.acquire_lock(other, mine, 10)
                except DeadlockError:
                    return "refused"
                else:
                    memory_manager.release_lock(other, mine)
                    return "got it"
                finally:
                    memory_manager.release_lock(mine, mine)

            calls = [start(cross, "l", "r"), start(cross, "r", "l")]
            assert sorted(call.result(20) for call in calls) == ["got it", "refused"]

    def test_a_circle_that_a_new_owner_closes_is_found(self) -> None:
        space = LockSpace(None, WaitGraph())
        for key, holder in (("1", "a"), ("2", "b")):
            assert resume(space.acquiring(key, holder, None, None)) is True
        next_owner = space.acquiring("1", "c", None, None)
        next(next_owner)
        behind = space.acquiring("1", "b/x", None, None)
        pause = next(behind)
        busy_child = space.acquiring("2", "c/y", None, None)
        next(busy_child)
        space.release("1", "a")
        assert resume(next_owner) is True  # c has 1; c/y waits for b, whose b/x waits for 1
        began = time.monotonic()
        pause.signal.wait(30)
        assert time.monotonic() - began < 15  # it was woken to see for itself
        with pytest.raises(DeadlockError):
            next(behind)
        space.release("2", "b")
        assert resume(busy_child) is True


class TestGuests:
    def test_a_guest_who_comes_in_while_another_takes_the_door_keeps_its_place(
        self, world: Any, start: Start, waiting: Waiting
    ) -> None:
        host, here = world.process(), world.process()
        assert host.acquire_lock("k", "a/b")
        gate = Gate()
        first = waiting(here, "k", "x")
        sibling = waiting(here, "k", "a/c")
        host.hand_over_lock("k", "a/b", "a")
        assert sibling.result()  # a guest
        gate = Gate()
        world.after["take"] = gate
        here.space.release("k", "a/c")  # x asks again, and is held up with the door in its hand
        host.release_lock("k", "a")
        assert gate.reached.wait(10)
        late = start(here.acquire_lock, "k", "z/1", 0)
        assert late.result() is False
        gate.open.set()
        assert first.result()
        here.release_lock("k", "x")
        assert world.owners == {}

    def test_the_door_taken_behind_a_guest_is_given_back(self, world: Any, start: Start) -> None:
        host, here = world.process(), world.process()
        assert host.acquire_lock("k", "a")
        join, take = Gate(), Gate()
        stranger = here.space.acquiring("k", "x", None, None)
        assert resume(stranger) is None
        world.after["join"] = join
        guest = start(here.acquire_lock, "k", "a/c", 0)
        assert join.reached.wait(10)  # it knows its host, and has not settled yet
        host.release_lock("k", "a")
        world.after["take"] = take
        taking = start(resume, stranger)
        assert take.reached.wait(10)  # the stranger has the door, and has not settled yet
        join.open.set()
        assert guest.result() is True
        take.open.set()
        assert taking.result() is None  # not both
        assert world.owners == {}
        assert not here.still_held("k", "a/c")
        here.release_lock("k", "a/c")
        assert resume(stranger) is True
        here.release_lock("k", "x")

    def test_an_error_while_taking_leaves_the_next_one_to_take(self, world: Any, waiting: Waiting) -> None:
        here, elsewhere = world.process(), world.process()
        assert elsewhere.acquire_lock("k", "a")
        first = here.space.acquiring("k", "x", None, None)
        assert resume(first) is None
        behind = waiting(here, "k", "y")

        def fail() -> None:
            raise LockError("gone")

        world.before["take"] = fail
        with pytest.raises(LockError):
            next(first)
        elsewhere.release_lock("k", "a")
        assert behind.result()
        here.release_lock("k", "y")
        assert here.space.table.entries == {}


class TestGarbage:
    def test_a_wait_collected_in_the_middle_of_another_call_blocks_nobody(
        self, waiting: Waiting, memory_manager: MemoryLockManager
    ) -> None:
        assert memory_manager.acquire_lock("k", "a")
        forgotten = memory_manager.acquiring("k", "b", None, None)
        watching = memory_manager.watching("k", None)
        next(forgotten)
        next(watching)
        behind = waiting(memory_manager, "k", "c")
        with memory_manager.space.table.graph.mutex:  # the collector may run wherever something is allocated
            del forgotten, watching
            gc.collect()
        memory_manager.release_lock("k", "a")
        assert behind.result()
        memory_manager.release_lock("k", "c")

    def test_a_coroutine_that_is_never_resumed_is_not_let_in_with_its_family(
        self, memory_manager: MemoryLockManager
    ) -> None:
        assert memory_manager.acquire_lock("k", "a/b")
        loop = asyncio.new_event_loop()
        task = loop.create_task(memory_manager.aacquire_lock("k", "a/c"))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        memory_manager.hand_over_lock("k", "a/b", "a")
        memory_manager.release_lock("k", "a")
        assert not memory_manager.is_locked("k")

    def test_a_coroutine_that_is_never_resumed_leaves_the_line(
        self, waiting: Waiting, memory_manager: MemoryLockManager
    ) -> None:
        assert memory_manager.acquire_lock("k", "a")
        coroutine = memory_manager.aacquire_lock("k", "b")
        loop = asyncio.new_event_loop()
        task = loop.create_task(coroutine)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        behind = waiting(memory_manager, "k", "c")
        del task, coroutine
        gc.collect()
        memory_manager.release_lock("k", "a")
        assert behind.result()
        memory_manager.release_lock("k", "c")


class TestCancellation:
    def test_a_step_under_way_is_finished_and_undone(self, world: Any) -> None:
        here = world.process(quick=False)
        gate = Gate()
        world.after["take"] = gate

        async def main() -> None:
            task = asyncio.create_task(here.aacquire_lock("k", "a"))
            await asyncio.to_thread(gate.reached.wait, 10)
            assert "k" in world.owners
            task.cancel()
            await asyncio.sleep(0.01)
            gate.open.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(asyncio.wait_for(main(), 20))
        assert world.owners == {}
        assert here.space.table.entries == {}

    def test_a_release_under_way_is_finished(self, world: Any) -> None:
        here = world.process(quick=False)
        assert here.acquire_lock("k", "a")
        gate = Gate()
        world.before["drop"] = gate

        async def main() -> None:
            task = asyncio.create_task(here.arelease_lock("k", "a"))
            await asyncio.to_thread(gate.reached.wait, 10)
            task.cancel()
            await asyncio.sleep(0.01)
            gate.open.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(asyncio.wait_for(main(), 20))
        assert world.owners == {}

    def test_a_loop_that_is_gone_does_not_keep_the_lock(self, memory_manager: MemoryLockManager) -> None:
        assert memory_manager.acquire_lock("k", "a")
        loop = asyncio.new_event_loop()
        task = loop.create_task(memory_manager.aacquire_lock("k", "b"))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
        memory_manager.release_lock("k", "a")
        assert memory_manager.acquire_lock("k", "c", 0)
        memory_manager.release_lock("k", "c")


class TestLeaving:
    def test_newcomers_wait_while_a_lock_is_given_back(self, world: Any, start: Start) -> None:
        here, elsewhere = world.process(), world.process()
        assert here.acquire_lock("k", "a")
        gate = Gate()
        world.before["drop"] = gate
        leaving = start(here.release_lock, "k", "a")
        assert gate.reached.wait(10)
        assert here.acquire_lock("k", "b", 0) is False
        patient = start(here.acquire_lock, "k", "b")
        assert elsewhere.acquire_lock("k", "c", 0) is False
        gate.open.set()
        leaving.result()
        assert patient.result()
        here.release_lock("k", "b")

    def test_two_who_find_a_lapsed_lock_give_it_back_once(self, world: Any, start: Start) -> None:
        now = [0.0]
        here = world.process()
        here.space.clock = here.space.table.clock = lambda: now[0]
        here.space._keeper.poke = lambda **_: None
        assert here.acquire_lock("k", "a", hold_timeout=1)
        gate = Gate()
        world.before["drop"] = gate
        now[0] = 2
        first = start(here.acquire_lock, "k", "b")
        assert gate.reached.wait(10)
        second = start(here.acquire_lock, "k", "c", 0)
        assert second.result() is False
        gate.open.set()
        assert first.result()
        assert world.owners["k"][1] == "b"
        here.release_lock("k", "b")
        assert world.owners == {}

    def test_a_lock_whose_return_fails_is_free_here_all_the_same(self, world: Any, waiting: Waiting) -> None:
        here = world.process()
        assert here.acquire_lock("k", "a")
        behind = waiting(here, "k", "b")

        def fail() -> None:
            world.owners.clear()
            raise LockError("no answer")

        world.before["drop"] = fail
        with pytest.raises(LockError, match="no answer"):
            here.release_lock("k", "a")
        assert behind.result()
        here.release_lock("k", "b")

    @pytest.mark.parametrize("method", ["_vacate", "_call_next", "start_clearing"])
    @pytest.mark.parametrize("alone", [True, False])
    def test_an_interrupted_release_is_finished_by_whoever_comes_next(
        self, method: str, alone: bool, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        space = LockSpace(None, WaitGraph()) if alone else world.process().space
        for finish in (lambda: space.discard("k", "a"), lambda: resume(space.acquiring("k", "b", 0, None))):
            assert resume(space.acquiring("k", "a", None, None)) is True

            def interrupted(*_: object) -> None:
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(LockTable, method, interrupted)
                with contextlib.suppress(KeyboardInterrupt):
                    space.release("k", "a")
            finish()
            space.discard("k", "b")
            assert space.table.entries == {}
            assert world.owners == {}


class TestVanishingFiles:
    """The folder is removed between the opening of a lock file and the locking, and after."""

    @staticmethod
    def at_the_lock(monkeypatch: pytest.MonkeyPatch, disturb: Callable[[], None]) -> None:
        is_current, disturbed = LockFile.is_current, []

        def late(self: LockFile) -> bool:
            if not disturbed:
                disturbed.append(True)
                disturb()
            return is_current(self)

        monkeypatch.setattr(LockFile, "is_current", late)

    def test_a_lock_in_a_removed_file_does_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "locks"
        here, elsewhere = FileSystemLockManager(folder), LockSpace(DoorFiles(str(folder)), WaitGraph())
        self.at_the_lock(monkeypatch, lambda: shutil.rmtree(folder))
        assert here.acquire_lock("k", "a")
        assert elsewhere.is_locked("k")
        assert resume(elsewhere.acquiring("k", "b", 0, None)) is False
        here.release_lock("k", "a")

    def test_a_file_that_another_process_made_anew_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "locks"
        here, elsewhere = FileSystemLockManager(folder), LockSpace(DoorFiles(str(folder)), WaitGraph())

        def replace() -> None:
            shutil.rmtree(folder)
            assert resume(elsewhere.acquiring("k", "b", 0, None)) is True

        self.at_the_lock(monkeypatch, replace)
        assert not here.acquire_lock("k", "a", 0)
        elsewhere.release("k", "b")
        assert here.acquire_lock("k", "a", 0)
        here.release_lock("k", "a")

    def test_a_refusal_by_a_removed_file_does_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "locks"
        here, elsewhere = FileSystemLockManager(folder), LockSpace(DoorFiles(str(folder)), WaitGraph())
        assert here.acquire_lock("k", "a")
        here.release_lock("k", "a")
        assert resume(elsewhere.acquiring("k", "b", 0, None)) is True
        self.at_the_lock(monkeypatch, lambda: shutil.rmtree(folder))
        assert here.acquire_lock("k", "a", 0)
        assert not elsewhere.still_held("k", "b")
        here.release_lock("k", "a")
        elsewhere.release("k", "b")

    def test_a_folder_made_and_removed_all_the_time_excludes_still(self, tmp_path: Path, start: Start) -> None:
        folder = tmp_path / "locks"
        spaces = {name: LockSpace(DoorFiles(str(folder)), WaitGraph()) for name in ("first", "second")}
        ended = threading.Event()

        def remove() -> None:
            while not ended.is_set():
                shutil.rmtree(folder, ignore_errors=True)

        remover = start(remove)
        try:
            for _ in range(200 * ROUNDS):
                taken = []
                for name, space in spaces.items():
                    if resume(space.acquiring("k", name, 0, None)):
                        taken.append(name)
                assert taken[0] == "first"  # never a wrong no, never an error
                # Two may hold it only if the first one's lock file was removed: and that one is told.
                assert taken == ["first"] or not spaces["first"].still_held("k", "first")
                for name in taken:
                    spaces[name].release("k", name)
        finally:
            ended.set()
            remover.result()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
class TestForks:
    def test_a_fork_while_another_thread_is_inside_leaves_the_child_usable(
        self, memory_manager: MemoryLockManager
    ) -> None:
        assert memory_manager.acquire_lock("k", "a")
        with memory_manager.space.table.graph.mutex:  # as if another thread were in the middle of something
            pid = os.fork()
            if pid == 0:
                free = memory_manager.acquire_lock("k", "b", 0) and memory_manager.acquire_lock("other", "a", 0)
                os._exit(0 if free else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        memory_manager.release_lock("k", "a")

    def test_a_child_has_none_of_its_parents_waiters(self, waiting: Waiting, memory_manager: MemoryLockManager) -> None:
        assert memory_manager.acquire_lock("k", "a")
        waiter = waiting(memory_manager, "k", "b")
        pid = os.fork()
        if pid == 0:
            os._exit(len(memory_manager.space.table.graph) + len(memory_manager.space.table.entries))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        memory_manager.release_lock("k", "a")
        assert waiter.result()
        memory_manager.release_lock("k", "b")


class TestManyAskers:
    def test_threads_never_meet_in_memory(self, start: Start, memory_manager: MemoryLockManager) -> None:
        inside: list[str] = []

        def work() -> None:
            for _ in range(100 * ROUNDS):
                name = holder_path(None)
                assert memory_manager.acquire_lock("k", name)
                inside.append(name)
                time.sleep(0)
                assert inside == [name]
                inside.remove(name)
                memory_manager.release_lock("k", name)

        for call in [start(work) for _ in range(8)]:
            call.result(60)
        assert memory_manager.space.table.entries == {}

    def test_threads_and_coroutines_of_one_process_never_meet(self, tmp_path: Path, start: Start) -> None:
        manager = FileSystemLockManager(tmp_path / "locks")
        inside: list[str] = []

        async def main() -> None:
            async def work() -> None:
                for _ in range(10 * ROUNDS):
                    name = holder_path(None)
                    assert await manager.aacquire_lock("k", name)
                    inside.append(name)
                    await asyncio.sleep(0)
                    assert inside == [name]
                    inside.remove(name)
                    await manager.arelease_lock("k", name)

            await asyncio.gather(*(work() for _ in range(10)))

        for call in [start(asyncio.run, main()) for _ in range(3)]:
            call.result(60)
        assert manager.space.table.entries == {}

    @pytest.mark.parametrize("kind", ["filesystem", "redis"])
    def test_threads_of_many_processes_lose_no_update(
        self, kind: str, tmp_path: Path, processes: Processes, request: pytest.FixtureRequest
    ) -> None:
        options: dict[str, Any] = {"lock_files_directory": str(tmp_path / "locks")}
        if kind == "redis":
            options = {"port": request.getfixturevalue("redis_server").port}
        counter = tmp_path / "counter"
        counter.write_text("0")
        team = processes(3, kind=kind, **options)
        for process in team:
            process.tell("count", str(counter), 4, 10 * ROUNDS)
        total = sum(process.hear()[0] for process in team)
        assert int(counter.read_text()) == total == 3 * 4 * 10 * ROUNDS

    @pytest.mark.skipif(sys.platform == "win32", reason="kills")
    def test_killed_holders_are_succeeded_one_after_another(self, tmp_path: Path, processes: Processes) -> None:
        team = processes(5, kind="filesystem", lock_files_directory=str(tmp_path / "locks"))
        for number, process in enumerate(team):
            process.tell("acquire_lock", "k", f"h{number}")
        time.sleep(0.3)
        alive = list(team)
        while alive:
            deadline = time.monotonic() + 1
            while not (inside := [process for process in alive if not process.silent(0)]):
                assert time.monotonic() < deadline
            assert len(inside) == 1
            assert inside[0].hear()[0] is True
            inside[0].kill()
            alive.remove(inside[0])
