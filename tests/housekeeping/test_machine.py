"""Whatever is done to a store in whatever order, it holds what a dictionary says it should."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowstone import housekeeping
from flowstone.filesystems import LocalFileSystem
from flowstone.housekeeping import RecordState, Selection
from flowstone.records import RecordInfo
from flowstone.results import ResultStore
from flowstone.signing import Keyring

RING, THEIRS = Keyring.from_text("ours"), Keyring.from_text("theirs")
NOW = 4_000_000_000.0

keys = st.sampled_from(["a", "b", "c/d", "c/e", "f" * 64])
ages = st.integers(0, 20)
tasks = st.sampled_from(["load", "train"])


class Model(NamedTuple):
    """What the dictionary knows of a record."""

    value: bytes
    age: int
    expired: bool
    task: str
    duration: int
    state: RecordState = RecordState.FRESH

    @property
    def ours(self) -> bool:
        return self.state is RecordState.FRESH


class Housekeeping(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = ResultStore(LocalFileSystem(self.folder / "store"), keyring=RING)
        self.model: dict[str, Model] = {}
        self.saved: dict[str, Model] | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(
        key=keys, size=st.sampled_from([0, 100, 9000]), age=ages, expired=st.booleans(), task=tasks, ours=st.booleans()
    )
    def write(self, key: str, size: int, age: int, expired: bool, task: str, ours: bool) -> None:
        store = self.store if ours else ResultStore(self.store.result_storage, keyring=THEIRS)
        model = Model(b"x" * size, age, expired, task, size // 100, RecordState.FRESH if ours else RecordState.FOREIGN)
        expires = NOW - 1 if expired else None
        info = RecordInfo(key, NOW - age, expires, task_name=task, duration=model.duration)
        store.publish([store.stage(info, model.value)])
        self.model[key] = model

    @rule(key=keys, from_end=st.integers(1, 80))
    def damage(self, key: str, from_end: int) -> None:
        if key in self.model and self.model[key].ours:
            path = self.folder / "store" / key
            data = bytearray(path.read_bytes())
            data[-from_end] ^= 1
            path.unlink()
            path.write_bytes(data)
            self.model[key] = self.model[key]._replace(state=RecordState.DAMAGED)

    @rule(key=keys)
    def remove(self, key: str) -> None:
        assert self.store.remove(key) is (self.model.pop(key, None) is not None)

    @rule()
    def repair(self) -> None:
        report = housekeeping.check(self.store, repair=True, now=NOW)
        broken = {key for key, model in self.model.items() if model.state is RecordState.DAMAGED}
        assert {fault.where for fault in report.faults if fault.remedy} == broken
        assert report.ok
        for key in broken:
            del self.model[key]

    @precondition(lambda self: all(model.state is not RecordState.DAMAGED for model in self.model.values()))
    @rule(older_than=ages, task=st.none() | tasks, expired=st.booleans())
    def prune(self, older_than: int, task: str | None, expired: bool) -> None:
        gone = {
            key
            for key, model in self.model.items()
            if model.ours and task in (None, model.task) and (model.age >= older_than or (expired and model.expired))
        }
        report = housekeeping.prune(self.store, older_than=older_than, task=task, expired=expired, now=NOW)
        assert {each.victim.key for each in report.removals} == gone
        assert report.removed == len(gone)
        for key in gone:
            del self.model[key]

    @precondition(lambda self: all(model.state is not RecordState.DAMAGED for model in self.model.values()))
    @rule(budget=st.integers(0, 30_000), by=st.sampled_from(["lru", "cost"]))
    def fit(self, budget: int, by: str) -> None:
        report = housekeeping.prune(self.store, max_bytes=budget, by=by, now=NOW)
        for removal in report.removals:
            assert self.model.pop(removal.victim.key).ours
        assert housekeeping.stats(self.store, now=NOW).total.bytes <= budget

    @rule(prefix=st.sampled_from(["", "c/", "a"]))
    def save(self, prefix: str) -> None:
        path = self.folder / "archive.tar"
        report = housekeeping.export(self.store, Selection(prefix=prefix), path, overwrite=True, now=NOW)
        meant = {key: model for key, model in self.model.items() if key.startswith(prefix)}
        self.saved = {key: model for key, model in meant.items() if model.ours}
        assert {key for key, _ in report.left_out} == set(meant) - set(self.saved)

    @precondition(lambda self: self.saved is not None)
    @rule(overwrite=st.booleans(), together=st.booleans())
    def restore(self, overwrite: bool, together: bool) -> None:
        assert self.saved is not None
        path = self.folder / "archive.tar"
        report = housekeeping.import_(self.store, path, overwrite=overwrite, together=together, now=NOW)
        assert report.ok
        for key, model in self.saved.items():
            here = self.model.get(key)
            stays = here is not None and (here.state is RecordState.FOREIGN or (here.ours and here.age < model.age))
            if overwrite or not stays:
                self.model[key] = model

    @invariant()
    def listing_and_store_agree_with_the_dictionary(self) -> None:
        found = {entry.key: entry for entry in housekeeping.entries(self.store, now=NOW)}
        assert set(found) == set(self.model)
        for key, model in self.model.items():
            entry = found[key]
            if model.ours:
                assert entry.state is (RecordState.EXPIRED if model.expired else RecordState.FRESH)
                assert (NOW - entry.created, entry.task, entry.duration) == (model.age, model.task, model.duration)
                assert self.store.load(entry.head) == model.value
            elif model.state is RecordState.FOREIGN:
                assert entry.state is RecordState.FOREIGN


TestHousekeeping = Housekeeping.TestCase
TestHousekeeping.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=30)
