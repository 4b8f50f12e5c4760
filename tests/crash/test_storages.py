"""A writer killed at every step of a write and of a group: whole blobs, whole groups, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flowstone.filesystems import LocalFileSystem, files, groups, leftovers, local, marker, paths
from flowstone.filesystems.base import WriteMode

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))

MODULES = (files, groups, leftovers, local, marker, paths)
STEPS = {"open", "writev", "utime", "fsync", "rename", "replace", "link", "unlink", "mkdir", "makedirs", "rmdir"}

Scenario = Callable[[LocalFileSystem], object]


class DyingOs:
    """The module `os`, but for a kill -9 at the given step; a write dies with half of it written."""

    def __init__(self, die_at: int) -> None:
        self.left = die_at

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in STEPS:
            return real

        def step(*args: object, **kwargs: object) -> object:
            self.left -= 1
            if self.left == 0:
                if name == "writev":
                    fd, views = args
                    data = b"".join(views)  # type: ignore[arg-type]
                    os.write(fd, data[: len(data) // 2])  # type: ignore[arg-type]
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return step


def died(store: Path, durability: str, act: Scenario, die_at: int) -> bool:
    """Do `act` in a child that is killed at step `die_at`; say whether it got there."""
    pid = os.fork()
    if not pid:
        dying = DyingOs(die_at)
        for module in MODULES:
            module.os = dying  # type: ignore[attr-defined]
        code = 1
        try:
            act(LocalFileSystem(store, durability=durability))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def every_death(tmp_path: Path, durability: str, before: Scenario, act: Scenario) -> Iterator[Path]:
    """Yield a store after each death that `act` can die, and at last one where it lived."""
    for step in range(1, 200):
        store = tmp_path / f"{step}"
        before(LocalFileSystem(store, durability=durability))
        dead = died(store, durability, act, step)
        yield store
        if not dead:
            return
    pytest.fail("the write has no end")


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def contents(store: Path) -> dict[str, bytes]:
    """What a reader sees, who has not written here: by listing and by asking, which must agree."""
    storage = LocalFileSystem(store)
    listed = {entry.key: entry for entry in storage.scan()}
    found = {}
    for key, entry in listed.items():
        blob = storage.get(key)
        assert blob is not None
        assert storage.stamp(key) == blob.stamp
        assert storage.head(key, 3) == bytes(blob.data[:3])
        assert entry.size == len(blob.data)
        found[key] = bytes(blob.data)
    return found


def check_house(store: Path) -> None:
    """After a sweep nothing is left that does not belong, and the store is as good as new."""
    before = contents(store)
    LocalFileSystem(store).sweep()
    assert contents(store) == before
    assert files_below(store / ".flowstone") <= {"tmp"}
    storage = LocalFileSystem(store)
    storage.publish([("a", [b"later"]), ("folder/b", [b"later"])])
    storage.put("c", [b"later"])
    assert contents(store).items() >= {"a": b"later", "folder/b": b"later", "c": b"later"}.items()
    assert files_below(store / ".flowstone") == {"tmp"}


OLD = {"a": b"old" * 50, "folder/b": b"old", "unrelated": b"stays"}
NEW = [b"new" * 40, b"!"]


def fill(storage: LocalFileSystem) -> None:
    for key, data in OLD.items():
        storage.put(key, [data])


def nothing(storage: LocalFileSystem) -> None:
    pass


@pytest.mark.parametrize("durability", ["fast", "safe"])
@pytest.mark.parametrize("before", [nothing, fill], ids=["new-store", "old-store"])
@pytest.mark.parametrize("mode", [WriteMode.OVERWRITE, WriteMode.CREATE_ONLY])
@pytest.mark.parametrize("key", ["a", "folder/b", "fresh", "new/folder/k"])
def test_a_put_killed_at_any_step_leaves_the_old_blob_or_the_new(
    tmp_path: Path, durability: str, before: Scenario, mode: str, key: str
) -> None:
    states = []
    for store in every_death(tmp_path, durability, before, lambda storage: storage.put(key, NEW, mode)):
        found = contents(store)
        states.append(found.pop(key, None))
        expected = {} if before is nothing else {other: data for other, data in OLD.items() if other != key}
        assert found == expected
        check_house(store)
    there = None if before is nothing else OLD.get(key)
    last = there if mode == WriteMode.CREATE_ONLY and there is not None else b"".join(NEW)
    assert states[0] == there
    assert states[-1] == last
    assert set(states) <= {there, last}
    assert len(states) > 3


GROUP = {"a": b"group a", "folder/b": b"group b", "new/folder/c": b"group c"}


def publish(storage: LocalFileSystem) -> None:
    storage.publish([(key, [data]) for key, data in GROUP.items()])


@pytest.mark.parametrize("durability", ["fast", "safe"])
@pytest.mark.parametrize("before", [nothing, fill], ids=["new-store", "old-store"])
def test_a_group_killed_at_any_step_is_there_whole_or_not_at_all(
    tmp_path: Path, durability: str, before: Scenario
) -> None:
    old = {} if before is nothing else OLD
    seen = []
    for store in every_death(tmp_path, durability, before, publish):
        found = contents(store)
        assert found in (old, {**old, **GROUP})
        seen.append(found == {**old, **GROUP})
        check_house(store)
    assert seen == sorted(seen), "once committed it stays"
    assert seen[0] is False
    assert seen.count(True) > 5, "killed while its files were moved, it was there"


@pytest.mark.parametrize("second", ["put", "delete", "publish", "sweep", "create"])
def test_who_finishes_the_group_of_a_dead_writer_may_die_at_any_step_too(tmp_path: Path, second: str) -> None:
    acts: dict[str, Scenario] = {
        "put": lambda storage: storage.put("a", [b"second"]),
        "delete": lambda storage: storage.delete("folder/b"),
        "publish": lambda storage: storage.publish([("a", [b"second"]), ("d", [b"second"])]),
        "sweep": lambda storage: storage.sweep(),
        "create": lambda storage: storage.put("a", [b"second"], WriteMode.CREATE_ONLY),
    }
    after = {
        "put": {**OLD, **GROUP, "a": b"second"},
        "delete": {key: data for key, data in {**OLD, **GROUP}.items() if key != "folder/b"},
        "publish": {**OLD, **GROUP, "a": b"second", "d": b"second"},
        "sweep": {**OLD, **GROUP},
        "create": {**OLD, **GROUP},
    }
    for first in deaths_after_commit(tmp_path):
        for step in range(1, 100):
            store = tmp_path / f"{first}-{step}"
            fill(LocalFileSystem(store))
            assert died(store, "fast", publish, first)
            dead = died(store, "fast", acts[second], step)
            assert contents(store) in ({**OLD, **GROUP}, after[second])
            if not dead:
                assert contents(store) == after[second]
                check_house(store)
                break


def deaths_after_commit(tmp_path: Path) -> list[int]:
    """Return the first, a middle and the last step at which a publisher can die with his group committed."""
    steps = []
    for step, store in enumerate(every_death(tmp_path / "probe", "fast", fill, publish), 1):
        if contents(store) != OLD:
            steps.append(step)
    steps.pop()  # there it lived
    assert len(steps) > 5
    return [steps[0], steps[len(steps) // 2], steps[-1]]


def test_a_delete_killed_at_any_step_leaves_the_blob_or_not(tmp_path: Path) -> None:
    seen = set()
    for store in every_death(tmp_path, "fast", fill, lambda storage: storage.delete("folder/b")):
        found = contents(store)
        seen.add(found.pop("folder/b", None))
        assert found == {"a": OLD["a"], "unrelated": OLD["unrelated"]}
        check_house(store)
    assert seen == {None, OLD["folder/b"]}


def test_what_a_dead_writer_left_is_swept_by_the_next_process_that_writes(tmp_path: Path) -> None:
    store = tmp_path / "store"
    fill(LocalFileSystem(store))
    left = 0
    for step in range(1, 30):
        died(store, "fast", lambda storage: storage.put("a", NEW), step)
        died(store, "fast", publish, step)
        left = max(left, len(files_below(store / ".flowstone")))
    assert left > 1
    LocalFileSystem(store).put("k", [b"x"])
    assert files_below(store / ".flowstone") == {"tmp"}


# At random moments, with everything at once.

KEYS = ["a", "folder/b", "c"]


def sealed(number: int, size: int) -> bytes:
    body = number.to_bytes(8, "little") + bytes([number % 251]) * size
    return hashlib.blake2b(body, digest_size=16).digest() + body


def number_of(data: bytes | memoryview | None) -> int:
    assert data is not None
    data = bytes(data)
    assert hashlib.blake2b(data[16:], digest_size=16).digest() == data[:16], "torn"
    return int.from_bytes(data[16:24], "little")


def write_for_ever(store: Path, seed: int) -> None:
    chance = random.Random(seed)
    storage = LocalFileSystem(store)
    number = seed
    while True:
        number += 1
        size = chance.choice([0, 100, 5000, 1 << 21])
        storage.publish([(key, [sealed(number, size), b""]) for key in KEYS])
        storage.put("alone", [sealed(number, size)])
        storage.delete("gone/k")
        storage.put("gone/k", [sealed(number, 10)])


def test_writers_killed_at_random_moments_tear_nothing_and_split_no_group(tmp_path: Path) -> None:
    store = tmp_path / "store"
    chance = random.Random(7)
    LocalFileSystem(store).publish([(key, [sealed(0, 10)]) for key in KEYS])
    for turn in range(30 * ROUNDS):
        writers = []
        for writer in range(2):
            pid = os.fork()
            if not pid:
                with suppress(BaseException):
                    write_for_ever(store, (2 * turn + writer + 1) * 1_000_000)
                os._exit(1)
            writers.append(pid)
        time.sleep(chance.uniform(0.001, 0.03))
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
        for pid in writers:
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        reader = LocalFileSystem(store)
        blobs = [reader.get(key) for key in KEYS]
        assert len({number_of(blob and blob.data) for blob in blobs}) == 1, f"round {turn}: a group in parts"
        for key in ("alone", "gone/k"):
            if (blob := reader.get(key)) is not None:
                number_of(blob.data)
    LocalFileSystem(store).sweep()
    assert files_below(store / ".flowstone") == {"tmp"}


if sys.platform != "linux":
    pytest.skip("needs fork and /proc", allow_module_level=True)
