"""Locks of the operating system: they die with their process, survive forks, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowstone.exceptions import LockError
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.filesystem import DoorFiles, FileSystemLockManager
from flowstone.locking.space import LockSpace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

Processes = Callable[..., list[Any]]
SOON = 0.1
"""Seconds in which a dead holder is succeeded."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def team(processes: Processes, folder: Path) -> Callable[[int], list[Any]]:
    return lambda number: processes(number, kind="filesystem", lock_files_directory=str(folder))


class TestDeath:
    def test_the_longest_pause_leaves_time_to_succeed(self, folder: Path) -> None:
        assert DoorFiles(str(folder)).pause(3600) <= SOON / 2

    def test_a_killed_holder_is_succeeded_at_once_by_exactly_one(self, team: Callable[[int], list[Any]]) -> None:
        holder, *others = team(5)
        assert holder.do("acquire_lock", "k", "h")
        for number, other in enumerate(others):
            other.tell("acquire_lock", "k", f"w{number}")
        delays = []
        for _ in range(3):
            time.sleep(0.5)  # so long a wait that they look seldom
            killed = holder.kill()
            time.sleep(3 * SOON)
            inside = [other for other in others if not other.silent(0)]
            assert len(inside) == 1
            holder = inside[0]
            others.remove(holder)
            value, at = holder.hear()
            assert value
            delays.append(at - killed)
        assert sorted(delays)[1] < SOON  # the machine may have been busy once

    def test_a_stopped_holder_keeps_its_lock(self, team: Callable[[int], list[Any]]) -> None:
        holder, other = team(2)
        assert holder.do("acquire_lock", "k", "h")
        holder.stop()
        assert not other.do("acquire_lock", "k", "w", 0.1)
        holder.go_on()
        holder.do("release_lock", "k", "h")
        assert other.do("acquire_lock", "k", "w", 10)

    def test_a_killed_host_is_no_host(self, team: Callable[[int], list[Any]]) -> None:
        host, guest, other = team(3)
        assert host.do("acquire_lock", "k", "h")
        assert guest.do("acquire_lock", "k", "h/g", 0)
        assert guest.do("still_held", "k", "h/g")
        host.kill()
        assert not guest.do("still_held", "k", "h/g")
        assert other.do("acquire_lock", "k", "x", 0)
        assert not guest.do("still_held", "k", "h/g")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
class TestForks:
    def test_a_forked_child_does_not_hold_what_its_parent_holds(self, team: Callable[[int], list[Any]]) -> None:
        (parent,) = team(1)
        assert parent.do("acquire_lock", "k", "h")
        assert parent.do("fork", ["release_lock", "k", "h"], 0)["said"]["error"] == "LockError"
        assert parent.do("fork", ["acquire_lock", "k", "x", 0], 0)["said"]["value"] is False
        assert parent.do("fork", ["still_held", "k", "h"], 0)["said"]["value"] is False

    def test_the_end_of_a_child_frees_nothing_of_its_parent(self, team: Callable[[int], list[Any]]) -> None:
        parent, other = team(2)
        assert parent.do("acquire_lock", "k", "h")
        child = parent.do("fork", ["acquire_lock", "own", "c"], 0)
        assert child["said"]["value"]
        assert other.do("acquire_lock", "own", "o", 10)  # the child has ended
        assert not other.do("acquire_lock", "k", "o", 0.1)
        assert parent.do("still_held", "k", "h")

    def test_a_living_child_keeps_nothing_of_a_dead_parent(self, team: Callable[[int], list[Any]]) -> None:
        parent, other = team(2)
        assert parent.do("acquire_lock", "k", "h")
        child = parent.do("fork", ["is_locked", "k"], 60)
        try:
            assert child["said"]["value"] is True
            other.tell("acquire_lock", "k", "o")
            time.sleep(0.1)
            killed = parent.kill()
            value, at = other.hear()
            assert value
            assert at - killed < SOON
        finally:
            os.kill(child["pid"], signal.SIGKILL)

    def test_a_living_child_keeps_nothing_its_parent_releases(self, team: Callable[[int], list[Any]]) -> None:
        parent, other = team(2)
        assert parent.do("acquire_lock", "k", "h")
        child = parent.do("fork", ["is_locked", "k"], 60)
        try:
            parent.do("release_lock", "k", "h")
            assert other.do("acquire_lock", "k", "o", 0)
        finally:
            os.kill(child["pid"], signal.SIGKILL)

    def test_a_child_has_no_lock_file_of_its_parent_open(self, team: Callable[[int], list[Any]], folder: Path) -> None:
        (parent,) = team(1)
        assert parent.do("acquire_lock", "k", "h")
        assert len(parent.do("open_files", str(folder))) == 1
        assert parent.do("fork", ["open_files", str(folder)], 0)["said"]["value"] == []

    def test_a_child_closes_what_a_thread_of_its_parent_was_using(self, folder: Path) -> None:
        doors = DoorFiles(str(folder))
        used = doors._file(0)  # as by another thread, whose frames stay in the child for ever
        pid = os.fork()
        if pid == 0:
            os._exit(0 if used.fd == -1 and not open_in(folder) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert used.fd != -1

    def test_a_child_enters_below_its_parent_as_a_guest(self, team: Callable[[int], list[Any]]) -> None:
        (parent,) = team(1)
        assert parent.do("acquire_lock", "k", "h")
        assert parent.do("fork", ["acquire_lock", "k", "h/c", 0], 0)["said"]["value"] is True

    def test_a_program_started_meanwhile_has_no_lock_file_open(self, folder: Path) -> None:
        manager = FileSystemLockManager(folder)
        assert manager.acquire_lock("k", "a")
        script = "import os; print([os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')])"
        listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, close_fds=False)
        assert "pipe" in listed.stdout
        assert str(folder) not in listed.stdout
        manager.release_lock("k", "a")


class TestFiles:
    def test_nothing_grows_however_many_keys_there_are(self, folder: Path) -> None:
        manager = FileSystemLockManager(folder)
        for number in range(3000):
            assert manager.acquire_lock(f"key {number}", "a")
        assert len(os.listdir(folder)) <= 16
        for number in range(3000):
            manager.release_lock(f"key {number}", "a")
        assert len(os.listdir(folder)) <= 16
        assert all(path.stat().st_size == 0 for path in folder.iterdir())

    def test_no_key_leads_out_of_the_folder(self, folder: Path, tmp_path: Path) -> None:
        manager = FileSystemLockManager(folder)
        for key in ("../x", "/abs", str(tmp_path / "abs"), "a/b", "..", ""):
            assert manager.acquire_lock(key, "a")
            manager.release_lock(key, "a")
        assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["locks"]
        assert all(path.is_file() for path in folder.iterdir())

    def test_copying_the_folder_frees_nothing(self, folder: Path, tmp_path: Path) -> None:
        import shutil

        manager = FileSystemLockManager(folder)
        assert manager.acquire_lock("k", "a")
        shutil.copytree(folder, tmp_path / "copy")  # opens and closes each lock file in this process
        elsewhere = LockSpace(DoorFiles(str(folder)), WaitGraph())
        assert elsewhere.is_locked("k")
        manager.release_lock("k", "a")

    def test_it_stays_in_its_folder_when_the_process_moves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        manager = FileSystemLockManager("relative")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert manager.acquire_lock("k", "a")
        manager.release_lock("k", "a")
        assert (tmp_path / "relative").is_dir()
        assert manager == FileSystemLockManager(tmp_path / "relative")

    def test_two_names_of_one_folder_are_one_manager(self, folder: Path, tmp_path: Path) -> None:
        folder.mkdir()
        (tmp_path / "link").symlink_to(folder)
        assert FileSystemLockManager(folder) == FileSystemLockManager(tmp_path / "link")
        assert FileSystemLockManager(folder) != FileSystemLockManager(tmp_path / "other")

    def test_a_folder_that_cannot_be_is_an_error_and_never_a_no(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        manager = FileSystemLockManager(tmp_path / "file" / "locks")
        for call in (lambda: manager.acquire_lock("k", "a"), lambda: manager.is_locked("k")):
            with pytest.raises(LockError, match="file"):
                call()
        assert not manager.space.table.entries

    def test_files_are_closed_with_the_last_manager(self, folder: Path) -> None:
        import gc

        manager = FileSystemLockManager(folder)
        assert manager.acquire_lock("k", "a")
        manager.release_lock("k", "a")
        assert open_in(folder)
        del manager
        gc.collect()
        assert not open_in(folder)


class TestRemovedFolders:
    @staticmethod
    def remove(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    def test_locks_taken_afterwards_exclude(self, folder: Path) -> None:
        here, elsewhere = FileSystemLockManager(folder), LockSpace(DoorFiles(str(folder)), WaitGraph())
        assert here.acquire_lock("k", "a")
        here.release_lock("k", "a")
        self.remove(folder)
        assert here.acquire_lock("k", "a")
        assert elsewhere.is_locked("k")
        assert not elsewhere.is_holder("k", "b")
        here.release_lock("k", "a")

    def test_locks_taken_by_others_afterwards_are_seen(self, folder: Path) -> None:
        here, elsewhere = FileSystemLockManager(folder), LockSpace(DoorFiles(str(folder)), WaitGraph())
        assert here.acquire_lock("k", "a")
        here.release_lock("k", "a")
        self.remove(folder)
        run(elsewhere.acquiring("k", "b", 0, None))
        assert here.is_locked("k")
        assert here.is_lock_holder("k", "b/c")
        assert not here.acquire_lock("k", "a", 0)
        elsewhere.release("k", "b")

    def test_a_holder_learns_that_its_lock_file_is_gone(self, folder: Path) -> None:
        here = FileSystemLockManager(folder)
        assert here.acquire_lock("k", "a")
        assert here.still_held("k", "a")
        self.remove(folder)
        assert not here.still_held("k", "a")
        assert here.acquire_lock("k", "a/b", 0)
        here.release_lock("k", "a/b")
        here.release_lock("k", "a")
        assert here.acquire_lock("k", "b", 0)
        here.release_lock("k", "b")

    def test_outdated_files_are_closed_with_their_last_lock(self, folder: Path) -> None:
        here = FileSystemLockManager(folder)
        assert here.acquire_lock("k", "a")
        self.remove(folder)
        assert here.acquire_lock("k2", "a")
        here.release_lock("k2", "a")
        here.release_lock("k", "a")
        assert here.acquire_lock("k", "a")
        here.release_lock("k", "a")
        assert not [link for link in open_in(folder) if link.endswith("(deleted)")]


def open_in(folder: Path) -> list[str]:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(str(folder))]


def run(waiting: Any) -> None:
    with pytest.raises(StopIteration) as end:
        next(waiting)
    assert end.value.value is True
