"""Writers and readers of one store, interleaved system call by system call, against what a dictionary would say.

Each actor runs in a thread that stops before every system call that others could notice. A schedule says who goes on;
all schedules with a few switches are tried, and some at random. Whatever happens must be what some order of the
operations, one at a time, would have given (they are linearizable), groups included.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from flowstone.filesystems import LocalFileSystem, files, groups, leftovers, local, marker, paths
from flowstone.filesystems.base import WriteMode

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))

MODULES = (files, groups, leftovers, local, marker, paths)
NOTICED = {"access", "scandir", "rename", "replace", "link", "unlink", "rmdir", "mkdir", "stat", "open"}

Call = tuple[str, ...]


class Done(NamedTuple):
    """An operation that was done: when it began and ended in steps of the schedule, and what it gave."""

    call: Call
    began: int
    ended: int
    result: object


class Actor:
    """A thread that does its calls one step at a time."""

    def __init__(self, stage: Stage, calls: list[Call]) -> None:
        self.stage = stage
        self.calls = calls
        self.may_go = threading.Semaphore(0)
        self.stopped = threading.Semaphore(0)
        self.finished = False
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.may_go.acquire()
        try:
            storage = LocalFileSystem(self.stage.store)
            for call in self.calls:
                began = self.stage.clock
                result = do(storage, call)
                self.stage.done.append(Done(call, began, self.stage.clock, result))
        except BaseException as error:
            self.error = error
        self.finished = True
        self.stopped.release()

    def pause(self) -> None:
        self.stopped.release()
        self.may_go.acquire()

    def go(self) -> None:
        self.may_go.release()
        assert self.stopped.acquire(timeout=20), "the actor hangs"


class SteppedOs:
    """The module `os`, which stops an actor before it does what others could notice."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in NOTICED:
            return real

        def stepped(*args: object, **kwargs: object) -> object:
            actor = self.stage.actor_of(threading.current_thread())
            if actor is not None and not (name == "open" and args[1] & os.O_CREAT):  # type: ignore[operator]
                actor.pause()
            return real(*args, **kwargs)

        return stepped


class Stage:
    """One run of some actors on one store."""

    def __init__(self, store: Path, plays: list[list[Call]]) -> None:
        self.store = store
        self.clock = 0
        self.done: list[Done] = []
        self.actors = [Actor(self, calls) for calls in plays]

    def actor_of(self, thread: threading.Thread) -> Actor | None:
        return next((actor for actor in self.actors if actor.thread is thread), None)

    def play(self, choose: Callable[[list[int], int | None], int], monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            for module in MODULES:
                patch.setattr(module, "os", SteppedOs(self))
            for actor in self.actors:
                actor.thread.start()
            last: int | None = None
            while ready := [number for number, actor in enumerate(self.actors) if not actor.finished]:
                last = choose(ready, last)
                self.clock += 1
                self.actors[last].go()
                assert self.clock < 2000, "no end: they keep each other from getting on"
        for actor in self.actors:
            actor.thread.join(20)
            if actor.error is not None:
                raise actor.error


def do(storage: LocalFileSystem, call: Call) -> object:
    match call:
        case ("put", key, value):
            return storage.put(key, [value.encode()]) is not None
        case ("create", key, value):
            return storage.put(key, [value.encode()], WriteMode.CREATE_ONLY) is not None
        case ("delete", key):
            return storage.delete(key)
        case ("publish", value, *keys):
            return storage.publish([(key, [value.encode()]) for key in keys])
        case ("get", key):
            blob = storage.get(key)
            return None if blob is None else bytes(blob.data).decode()
        case ("stat", key):
            return storage.stamp(key) is not None
        case ("scan",):
            return frozenset(entry.key for entry in storage.scan())
        case ("sweep",):
            storage.sweep()
            return None
    raise AssertionError(call)


def model(state: dict[str, str], call: Call) -> tuple[dict[str, str], object]:
    """Say what a dictionary would do."""
    match call:
        case ("put", key, value):
            return {**state, key: value}, True
        case ("create", key, value):
            return (state, False) if key in state else ({**state, key: value}, True)
        case ("delete", key):
            return {name: value for name, value in state.items() if name != key}, key in state
        case ("publish", value, *keys):
            return {**state, **dict.fromkeys(keys, value)}, None
        case ("get", key):
            return state, state.get(key)
        case ("stat", key):
            return state, key in state
        case ("scan",):
            return state, frozenset(state)
        case ("sweep",):
            return state, None
    raise AssertionError(call)


def has_an_order(state: dict[str, str], left: list[Done], final: dict[str, str]) -> bool:
    """Say whether the operations, one after the other in some order that respects who ended before whom began, would
    have given these results and this final state."""
    if not left:
        return state == final
    first_end = min(done.ended for done in left)
    for number, done in enumerate(left):
        # An operation that began after another had ended cannot come before it.
        if done.began < first_end or done.ended == first_end:
            after, result = model(state, done.call)
            if result == done.result and has_an_order(after, left[:number] + left[number + 1 :], final):
                return True
    return False


class Schedules:
    """All schedules in which at most `switches` times an actor that could go on is made to wait.

    Each run replays the choices of the one before up to the last that can be another.
    """

    def __init__(self, switches: int) -> None:
        self.switches = switches
        self.path: list[tuple[int, int]] = []  # at each step, which option was chosen out of how many
        self.rewind()

    def rewind(self) -> None:
        self.position = 0
        self.left = self.switches

    def choose(self, ready: list[int], last: int | None) -> int:
        running = last in ready
        options = ([last] if running else []) + [number for number in ready if number != last]
        if running and not self.left:
            options = options[:1]
        if self.position == len(self.path):
            self.path.append((0, len(options)))
        chosen, out_of = self.path[self.position]
        assert out_of == len(options), "a run is not a function of its schedule"
        self.position += 1
        self.left -= bool(running and chosen)
        return options[chosen]  # type: ignore[return-value]

    def advance(self) -> bool:
        self.rewind()
        while self.path and self.path[-1][0] + 1 == self.path[-1][1]:
            self.path.pop()
        if not self.path:
            return False
        chosen, out_of = self.path[-1]
        self.path[-1] = (chosen + 1, out_of)
        return True


def state_of(store: Path) -> dict[str, str]:
    storage = LocalFileSystem(store)
    state = {}
    for entry in storage.scan():
        blob = storage.get(entry.key)
        assert blob is not None
        state[entry.key] = bytes(blob.data).decode()
    return state


def leave_group(store: Path, value: str, *keys: str) -> None:
    """Leave a committed group none of whose files has been moved, as a writer does who dies there."""
    new = store / ".flowstone" / "group"
    for key in keys:
        (new / key).parent.mkdir(parents=True, exist_ok=True)
        (new / key).write_text(value)


PLAYS: dict[str, list[list[Call]]] = {
    "a put against a group": [
        [("publish", "G", "a", "b")],
        [("put", "a", "P"), ("get", "a")],
        [("get", "b"), ("get", "a"), ("get", "b")],
    ],
    "a put and then another key": [
        [("publish", "G", "a", "b")],
        [("put", "a", "P"), ("get", "b")],
        [("get", "a"), ("get", "b")],
    ],
    "two groups": [
        [("publish", "G", "a", "b")],
        [("publish", "H", "a", "b")],
        [("get", "b"), ("get", "a"), ("get", "b")],
    ],
    "two groups that overlap": [
        [("publish", "G", "a", "b")],
        [("publish", "H", "b", "c")],
        [("get", "c"), ("get", "b"), ("get", "a")],
    ],
    "a delete against a group": [
        [("publish", "G", "a", "b")],
        [("delete", "a"), ("get", "b")],
        [("get", "b"), ("get", "a")],
    ],
    "a creation against a group": [
        [("publish", "G", "new", "b")],
        [("create", "new", "C"), ("get", "new")],
        [("get", "new"), ("get", "b")],
    ],
    "creations against a delete": [
        [("create", "a", "C"), ("get", "a")],
        [("delete", "a"), ("create", "a", "D")],
        [("put", "a", "P"), ("stat", "a")],
    ],
    "folders that come and go": [
        [("put", "f/x", "1"), ("delete", "f/x")],
        [("put", "f/y", "2"), ("get", "f/y")],
        [("delete", "f/y"), ("put", "f/x", "3")],
    ],
    "a group in folders that come and go": [
        [("publish", "G", "f/x", "f/deep/y")],
        [("put", "f/x", "1"), ("delete", "f/x")],
        [("get", "f/deep/y"), ("get", "f/x")],
    ],
    "sweeping meanwhile": [
        [("publish", "G", "a", "b")],
        [("sweep",), ("put", "a", "P")],
        [("sweep",), ("get", "b"), ("get", "a")],
    ],
}


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[bool], Path]:
    """Make a new store with what is old in it and, if wanted, the group of a dead writer."""
    count = itertools.count()

    def make(dead_group: bool) -> Path:
        store = tmp_path / str(next(count))
        storage = LocalFileSystem(store)
        for key in ("a", "b", "c"):
            storage.put(key, [b"old"])
        if dead_group:
            leave_group(store, "dead", "a", "c")
        return store

    return make


def run(
    store: Path, play: list[list[Call]], choose: Callable[[list[int], int | None], int], patch: pytest.MonkeyPatch
) -> None:
    before = state_of(store)
    stage = Stage(store, play)
    stage.play(choose, patch)
    final = state_of(store)
    assert has_an_order(before, stage.done, final), (
        f"{before} -> {sorted(stage.done, key=lambda d: d.ended)} -> {final}"
    )
    left = {path.name for path in (store / ".flowstone").iterdir()} | {
        path.name for path in (store / ".flowstone" / "tmp").iterdir()
    }
    assert left == {"tmp"}, "somebody left something"


@pytest.mark.parametrize("name", PLAYS)
def test_whatever_comes_between_the_operations_have_an_order(
    scene: Callable[[bool], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules = Schedules(switches=min(ROUNDS, 2))
    while True:
        run(scene(False), PLAYS[name], schedules.choose, monkeypatch)
        if not schedules.advance():
            break


@pytest.mark.parametrize("dead_group", [False, True], ids=["", "with-a-dead-writers-group"])
@pytest.mark.parametrize("name", PLAYS)
def test_in_any_mingling_at_all_the_operations_have_an_order(
    scene: Callable[[bool], Path], name: str, dead_group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(name)
    for _ in range(40 * ROUNDS):
        stay = chance.choice([0.5, 0.8, 0.9, 0.95])

        def choose(ready: list[int], last: int | None, stay: float = stay) -> int:
            return last if last in ready and chance.random() < stay else chance.choice(ready)  # type: ignore[return-value]

        run(scene(dead_group), PLAYS[name], choose, monkeypatch)
