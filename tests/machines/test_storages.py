"""Storages against a dictionary: whatever is done in whatever order, by two objects for one place."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem, NullFileSystem, TieredFileSystem
from flowstone.filesystems.base import Stamp, Storage, SweepReport, WriteMode

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))

KEYS = st.sampled_from(["a", "b", "A", "é", "e\u0301", "f/a", "f/b", "f/g/a", "g/deep/er/k"])
DATA = st.lists(st.binary(max_size=20), max_size=3) | st.just([b"x" * 100, b"y"])
WHO = st.integers(0, 1)


class StorageMachine(RuleBasedStateMachine):
    """Two storages that speak of one place, and the dictionary they should be."""

    def make(self, folder: Path) -> list[Storage]:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.storages = self.make(self.folder)
        self.model: dict[str, bytes] = {}
        self.stamps: dict[str, Stamp | None] = {}
        self.all_stamps: set[Stamp] = set()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for storage in self.storages:
                storage.flush()
            shutil.rmtree(self.folder)

    def wrote(self, key: str, data: bytes, stamp: Stamp | None) -> None:
        if stamp is not None:
            assert stamp not in self.all_stamps, "a stamp came twice"
            self.all_stamps.add(stamp)
        self.model[key] = data
        self.stamps[key] = stamp

    @rule(who=WHO, key=KEYS, parts=DATA)
    def put(self, who: int, key: str, parts: list[bytes]) -> None:
        stamp = self.storages[who].put(key, parts)
        assert stamp is not None
        self.wrote(key, b"".join(parts), stamp)

    @rule(who=WHO, key=KEYS, parts=DATA)
    def create(self, who: int, key: str, parts: list[bytes]) -> None:
        stamp = self.storages[who].put(key, parts, WriteMode.CREATE_ONLY)
        assert (stamp is None) == (key in self.model)
        if stamp is not None:
            self.wrote(key, b"".join(parts), stamp)

    @rule(who=WHO, group=st.lists(st.tuples(KEYS, DATA), max_size=4))
    def publish(self, who: int, group: list[tuple[str, list[bytes]]]) -> None:
        self.storages[who].publish(group)
        for key, parts in group:
            self.wrote(key, b"".join(parts), None)

    @rule(who=WHO, key=KEYS)
    def delete(self, who: int, key: str) -> None:
        assert self.storages[who].delete(key) is (key in self.model)
        self.model.pop(key, None)
        self.stamps.pop(key, None)

    @rule(who=WHO, key=KEYS, size=st.integers(0, 30))
    def read(self, who: int, key: str, size: int) -> None:
        storage = self.storages[who]
        blob = storage.get(key)
        assert (None if blob is None else bytes(blob.data)) == self.model.get(key)
        assert storage.head(key, size) == (self.model[key][:size] if key in self.model else None)
        stamp = storage.stamp(key)
        assert stamp == (None if blob is None else blob.stamp)
        if self.stamps.get(key) is not None:
            assert stamp == self.stamps[key]

    @rule(who=WHO, prefix=st.sampled_from(["", "a", "f", "f/", "f/g/", "é", "zz"]))
    def scan(self, who: int, prefix: str) -> None:
        entries = list(self.storages[who].scan(prefix))
        sizes = {entry.key: entry.size for entry in entries}
        assert len(sizes) == len(entries), "a key was listed twice"
        assert sizes == {key: len(data) for key, data in self.model.items() if key.startswith(prefix)}

    @rule(who=WHO, key=KEYS)
    def touch(self, who: int, key: str) -> None:
        self.storages[who].touch(key)

    @rule(who=WHO)
    def sweep(self, who: int) -> None:
        assert self.storages[who].sweep() == SweepReport()

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        """Go on with a pickled copy, as another process would."""
        self.storages[who].flush()
        self.storages[who] = pickle.loads(pickle.dumps(self.storages[who]))


class MemoryMachine(StorageMachine):
    def make(self, folder: Path) -> list[Storage]:
        return [MemoryFileSystem(str(folder)), MemoryFileSystem(str(folder))]


class LocalMachine(StorageMachine):
    def make(self, folder: Path) -> list[Storage]:
        return [LocalFileSystem(folder), LocalFileSystem(folder)]

    @rule(key=KEYS, parts=DATA)
    def a_writer_dies_with_a_committed_group(self, key: str, parts: list[bytes]) -> None:
        """Leave a group as a writer does who is killed after the commit."""
        group = self.folder / ".flowstone" / "group"
        if not group.exists():
            (group / key).parent.mkdir(parents=True)
            (group / key).write_bytes(b"".join(parts))
            self.wrote(key, b"".join(parts), None)

    @rule(who=WHO)
    def sweep(self, who: int) -> None:
        pending = (self.folder / ".flowstone" / "group").exists()
        assert self.storages[who].sweep() == SweepReport(finished=int(pending))

    @rule()
    def the_store_is_removed(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.model.clear()
        self.stamps.clear()

    @invariant()
    def nothing_is_left_over(self) -> None:
        internal = self.folder / ".flowstone"
        if internal.exists():
            assert {path.name for path in internal.iterdir()} <= {"tmp", "group"}
            assert not (internal / "tmp").exists() or not list((internal / "tmp").iterdir())


class TieredMachine(StorageMachine):
    def make(self, folder: Path) -> list[Storage]:
        layers = [MemoryFileSystem(), LocalFileSystem(folder / "fast"), LocalFileSystem(folder / "slow")]
        other = [MemoryFileSystem(max_bytes=900), LocalFileSystem(folder / "other"), LocalFileSystem(folder / "slow")]
        return [TieredFileSystem(*layers, write_back=False), TieredFileSystem(*other, write_back=False)]


class WriteBackMachine(StorageMachine):
    def make(self, folder: Path) -> list[Storage]:
        tier = TieredFileSystem(MemoryFileSystem(), LocalFileSystem(folder / "slow"), max_waiting_bytes=150)
        return [tier, tier]

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        """A copy would have a queue of its own, and see what waits in this one only when it is done."""
        self.storages[who].flush()

    @rule(who=WHO)
    def sweep(self, who: int) -> None:
        self.storages[who].flush()
        super().sweep(who)


class LaptopMachine(StorageMachine):
    """Two processes of one laptop, with a shared store that is only read and that another writes to."""

    def make(self, folder: Path) -> list[Storage]:
        self.shared = LocalFileSystem(folder / "shared")
        return [
            TieredFileSystem(MemoryFileSystem(), LocalFileSystem(folder / "mine"), self.shared, read_only=True)
            for _ in range(2)
        ]

    @rule(key=KEYS, parts=DATA)
    def the_others_publish(self, key: str, parts: list[bytes]) -> None:
        self.wrote(key, b"".join(parts), self.shared.put(key, parts))

    @rule(who=WHO, key=KEYS)
    def delete(self, who: int, key: str) -> None:
        theirs = self.shared.get(key)
        if theirs is None:
            super().delete(who, key)
            return
        with pytest.raises(StoreError):
            self.storages[who].delete(key)
        self.model[key] = bytes(theirs.data)
        self.stamps[key] = theirs.stamp

    @rule(who=WHO, prefix=st.sampled_from(["", "a", "f", "f/"]))
    def scan(self, who: int, prefix: str) -> None:
        keys = [entry.key for entry in self.storages[who].scan(prefix)]
        assert sorted(keys) == sorted(key for key in self.model if key.startswith(prefix))


class NullMachine(StorageMachine):
    def make(self, folder: Path) -> list[Storage]:
        return [NullFileSystem(), NullFileSystem()]

    def wrote(self, key: str, data: bytes, stamp: Stamp | None) -> None:
        """Nothing is ever written."""


Machine = Callable[[], StorageMachine]


@pytest.mark.parametrize(
    "machine", [MemoryMachine, LocalMachine, TieredMachine, WriteBackMachine, LaptopMachine, NullMachine]
)
def test_a_storage_is_as_good_as_a_dictionary(machine: Machine) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40 * ROUNDS,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
