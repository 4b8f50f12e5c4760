"""Whose a temporary file is, and when it may go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowstone.filesystems import leftovers
from flowstone.filesystems.leftovers import is_dead, remove_tree, sweep_folder, temp_name

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def name_in_child() -> tuple[int, str]:
    """Return a child that waits, and a temporary name it made."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, temp_name().encode())
        time.sleep(60)
        os._exit(0)
    os.close(write)
    with open(read) as file:
        name = os.read(file.fileno(), 1000).decode()
    return pid, name


def test_no_two_names_are_equal_in_one_process_or_another() -> None:
    names = [temp_name() for _ in range(100)]
    pid, theirs = name_in_child()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len({*names, theirs}) == 101


def test_a_process_is_dead_once_it_is_killed_even_before_anybody_waited_for_it() -> None:
    pid, name = name_in_child()
    assert not is_dead(name)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not is_dead(name) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_dead(name)
    os.waitpid(pid, 0)
    assert is_dead(name)


def test_a_number_used_again_by_a_new_process_does_not_bring_the_old_one_back() -> None:
    pid, start, place, *rest = temp_name().split(".")
    assert not is_dead(".".join([pid, start, place, *rest]))
    assert is_dead(".".join([pid, str(int(start) - 1), place, *rest]))


@pytest.mark.parametrize("name", ["", "x", "1.2.3.4", "1..", "...", "99999999.5.elsewhere.1", "-1.5.0.1", "²..."])
def test_a_process_that_cannot_be_asked_is_not_taken_for_dead(name: str) -> None:
    assert not is_dead(name)


def test_a_process_without_a_start_time_is_not_taken_for_dead() -> None:
    _, _, place, *_ = temp_name().split(".")
    assert not is_dead(f"999999.0.{place}.1")


def test_a_process_of_another_user_hidden_in_proc_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    _, start, place, *_ = temp_name().split(".")
    process = subprocess.Popen(["sleep", "60"])
    try:
        monkeypatch.setattr(leftovers, "_start_time", lambda pid: None)
        assert not is_dead(f"{process.pid}.{start}.{place}.1")
    finally:
        process.kill()
        process.wait()
    assert is_dead(f"{process.pid}.{start}.{place}.1")


def test_a_tree_goes_whole_and_a_link_in_it_only_as_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "k").write_bytes(b"stays")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "k").write_bytes(b"12345")
    (tree / "a" / "link").symlink_to(outside)
    assert remove_tree(str(tree)) == 5 + len(str(outside))
    assert not tree.exists()
    assert (outside / "k").read_bytes() == b"stays"


def test_sweeping_no_folder_finds_nothing(tmp_path: Path) -> None:
    assert sweep_folder(str(tmp_path / "missing")).removed == 0
