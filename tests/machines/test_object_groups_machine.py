"""An object store under singles, groups, deaths, readers with memories, and sweeps, against a dictionary."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowstone.exceptions import StoreError
from flowstone.filesystems import object_pointer
from flowstone.filesystems.object_pointer import POINTER_SIZE
from flowstone.filesystems.objects import ObjectStorage

pytest.importorskip("obstore")

LARGE = 1000
KEYS = ["a", "b", "c/d", "c/e"]
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"x", b"longer value", b"p" * POINTER_SIZE, b"L" * (LARGE + 1)])
groups = st.dictionaries(keys, values, min_size=1, max_size=4)
agents = st.integers(0, 2)


class ObjectStore(RuleBasedStateMachine):
    """Three agents share a place; each remembers verdicts and first sights of its own."""

    @initialize()
    def begin(self) -> None:
        self.plain_most, object_pointer.PLAIN_MOST = object_pointer.PLAIN_MOST, LARGE  # type: ignore[misc]
        self.plugin: Any = sys.modules["flowstone_test_plugin_object_stores"]
        self.address = self.plugin.MemoryAddress()
        self.now = 0.0
        self.agents = [self.agent() for _ in range(3)]
        self.model: dict[str, bytes] = {}

    def agent(self) -> ObjectStorage:
        storage = ObjectStorage.over(self.plugin.LabClient(self.address), conditions=True)
        storage._groups._workers = 1
        storage._groups._monotonic = lambda: self.now
        storage._groups._sleep = self.sleep
        return storage

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @rule(agent=agents, key=keys, value=values)
    def put(self, agent: int, key: str, value: bytes) -> None:
        stamp = self.agents[agent].put(key, [value])
        assert stamp == self.agents[agent].stamp(key)
        self.model[key] = value

    @rule(agent=agents, key=keys, value=values)
    def create(self, agent: int, key: str, value: bytes) -> None:
        stamp = self.agents[agent].put(key, [value], "create-only")
        assert (stamp is None) == (key in self.model)
        self.model.setdefault(key, value)

    @rule(agent=agents, key=keys, value=values)
    def swap(self, agent: int, key: str, value: bytes) -> None:
        stamp = self.agents[agent].stamp(key)
        assert (stamp is None) == (key not in self.model)
        assert self.agents[agent].compare_and_swap(key, [value], stamp) is not None
        self.model[key] = value

    @rule(agent=agents, key=keys)
    def delete(self, agent: int, key: str) -> None:
        assert self.agents[agent].delete(key) == (key in self.model)
        self.model.pop(key, None)

    @rule(agent=agents, group=groups)
    def publish(self, agent: int, group: dict[str, bytes]) -> None:
        self.agents[agent].publish([(key, [value]) for key, value in group.items()])
        self.model.update(group)

    @rule(group=groups, steps=st.sets(st.integers(0, 30), max_size=4), applied=st.booleans(), repeats=st.booleans())
    def publish_with_faults(self, group: dict[str, bytes], steps: set[int], applied: bool, repeats: bool) -> None:
        """What succeeds is there; what fails is not, unless it says that it cannot know."""

        def fail(number: int, doing: str, path: str) -> None:
            if number in steps:
                raise StoreError("down for a moment")

        writer = self.agent()
        writer.client.repeats = repeats  # type: ignore[attr-defined]
        setattr(writer.client, "after" if applied else "before", fail)
        after = {**self.model, **group}
        try:
            writer.publish([(key, [value]) for key, value in group.items()])
        except StoreError as error:
            seen = self.seen_by(self.agent())
            alone = len(group) == 1 or "together or not at all" in str(error)
            assert seen == self.model or (alone and seen == after)
            after = seen
        self.model = after

    @rule(group=groups, step=st.integers(0, 25), done=st.booleans(), repeats=st.booleans())
    def publish_and_die(self, group: dict[str, bytes], step: int, done: bool, repeats: bool) -> None:
        """Afterwards it is the one or the other, whoever looks; and it stays so."""
        mortal = self.agent()
        mortal.client.repeats = repeats  # type: ignore[attr-defined]
        mortal.client.kill_at(step, done=done)  # type: ignore[attr-defined]
        after = {**self.model, **group}
        try:
            mortal.publish([(key, [value]) for key, value in group.items()])
        except self.plugin.Killed:
            seen = self.seen_by(self.agent())
            assert seen in (self.model, after)
            after = seen
        self.model = after

    @rule(seconds=st.sampled_from([1.0, 6.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(agent=agents)
    def sweep(self, agent: int) -> None:
        self.agents[agent].sweep(older_than=-1.0)

    @rule(agent=agents)
    def read(self, agent: int) -> None:
        assert self.seen_by(self.agents[agent]) == self.model

    @rule(agent=agents, key=keys, size=st.integers(0, 20))
    def look(self, agent: int, key: str, size: int) -> None:
        storage = self.agents[agent]
        value = self.model.get(key)
        assert storage.head(key, size) == (None if value is None else value[:size])
        blob = storage.get(key)
        assert storage.stamp(key) == (None if blob is None else blob.stamp)

    @invariant()
    def listing_tells_the_truth(self) -> None:
        assert {entry.key: entry.size for entry in self.agents[0].scan()} == {
            key: len(value) for key, value in self.model.items()
        }

    def seen_by(self, storage: ObjectStorage) -> dict[str, bytes]:
        blobs = {key: storage.get(key) for key in KEYS}
        return {key: bytes(blob.data) for key, blob in blobs.items() if blob is not None}

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        try:
            self.check_what_is_left()
        finally:
            object_pointer.PLAIN_MOST = self.plain_most  # type: ignore[misc]

    def check_what_is_left(self) -> None:
        """Two sweeps, the second for the verdicts the first one gave, leave records and what they stand on."""
        for _ in range(2):
            self.agent().sweep(older_than=-1.0)
        assert self.seen_by(self.agent()) == self.model
        left = [version.path for version in self.agent().client.list("") if version.path.startswith(".flowstone")]
        behind = [value for value in self.model.values() if len(value) > LARGE or len(value) == POINTER_SIZE]
        assert len(left) <= 2 * len(behind), left


TestObjectStore = ObjectStore.TestCase
TestObjectStore.settings = settings(settings.default, stateful_step_count=25)
