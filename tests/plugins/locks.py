"""Lock managers of every kind, as this process and as another one would have them; and a world of locks to hold up."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flowstone.locking import bytelocks
from flowstone.locking.base import LockManager
from flowstone.locking.deadlocks import WaitGraph
from flowstone.locking.entries import Backing
from flowstone.locking.filesystem import DoorFiles, FileSystemLockManager
from flowstone.locking.holders import lineage
from flowstone.locking.memory import MemoryLockManager
from flowstone.locking.objects import ObjectLeases, ObjectLockManager
from flowstone.locking.outside import Outside
from flowstone.locking.redis import Address, LeaseServer, RedisLockManager
from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager
from flowstone.locking.table import LockTable

LEASE = 2.0


class Over(SpaceLockManager):
    """A manager over any space."""

    def __init__(self, space: LockSpace) -> None:
        self.space = space


class Kind:
    """One kind of lock manager: `here()` as users make it, `elsewhere()` as another process would have it."""

    def __init__(
        self, name: str, here: Callable[[], LockManager], elsewhere: Callable[[], LockManager] | None = None
    ) -> None:
        self.name = name
        self.here = here
        self.elsewhere = elsewhere

    def __repr__(self) -> str:
        return self.name


def memory_kind(request: pytest.FixtureRequest) -> Kind:
    return Kind("memory", MemoryLockManager)


def filesystem_kind(request: pytest.FixtureRequest) -> Kind:
    folder = request.getfixturevalue("tmp_path") / "locks"
    return Kind(
        "filesystem",
        lambda: FileSystemLockManager(folder),
        lambda: Over(LockSpace(DoorFiles(str(folder)), WaitGraph())),
    )


def process_locks_kind(request: pytest.FixtureRequest) -> Kind:
    """Where the system has no locks of open files; two openings in one process are one owner there."""
    fcntl = pytest.importorskip("fcntl")
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr(bytelocks, "_SET", fcntl.F_SETLK)
    monkeypatch.setattr(bytelocks, "_ASK", fcntl.F_GETLK)
    folder = request.getfixturevalue("tmp_path") / "locks"
    return Kind("process locks", lambda: FileSystemLockManager(folder))


def redis_kind(request: pytest.FixtureRequest) -> Kind:
    port = request.getfixturevalue("redis_server").port
    address = Address("127.0.0.1", port, 0, None, None, False, None)
    return Kind(
        "redis",
        lambda: RedisLockManager(port=port, lease=LEASE),
        lambda: Over(LockSpace(LeaseServer(address, "the test's", LEASE), WaitGraph())),
    )


def objects_kind(request: pytest.FixtureRequest) -> Kind:
    server = request.getfixturevalue("s3_server")
    prefix = f"locks-{os.urandom(6).hex()}"
    return Kind(
        "objects",
        lambda: ObjectLockManager(server.storage(prefix)),
        lambda: Over(LockSpace(ObjectLeases(server.storage(prefix).client, lambda: None, LEASE), WaitGraph())),
    )


KINDS: dict[str, Callable[[pytest.FixtureRequest], Kind]] = {
    "memory": memory_kind,
    "filesystem": filesystem_kind,
    "process locks": process_locks_kind,
    "redis": redis_kind,
    "objects": objects_kind,
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param](request)


@pytest.fixture(params=["filesystem", "redis", "objects"])
def wide_kind(request: pytest.FixtureRequest) -> Kind:
    """A kind that reaches beyond its process."""
    return KINDS[request.param](request)


@pytest.fixture
def manager(kind: Kind) -> Iterator[LockManager]:
    """A manager of each kind in turn; at the end of the test nothing may be left of its locks."""
    manager = kind.here()
    assert isinstance(manager, SpaceLockManager)
    yield manager
    assert_nothing_left(manager.space.table)


@pytest.fixture
def memory_manager() -> Iterator[MemoryLockManager]:
    manager = MemoryLockManager()
    yield manager
    assert_nothing_left(manager.space.table)


def assert_nothing_left(table: LockTable) -> None:
    left = [] if eventually(lambda: not table.entries, 2) else list(table.entries)
    waiting = len(table.graph)
    table.forget()  # one test's locks must not stop the next one
    table.graph.forget()
    assert left == []
    assert waiting == 0


def eventually(holds: Callable[[], Any], seconds: float = 10.0) -> bool:
    """Wait until something holds; False if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
        gc.collect(0)
    return True


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., bool]:
    return eventually


class Call:
    """A call in a thread of its own."""

    def __init__(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._work = work
        self._args = args
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work(*self._args)
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, seconds: float = 10.0) -> Any:
        self._thread.join(seconds)
        assert not self.running, "the call does not end"
        if self._error is not None:
            raise self._error
        return self._value


@pytest.fixture
def start() -> Callable[..., Call]:
    """Starts a call in a thread: `start(work, *args).result()`."""
    return lambda work, *args: Call(work, args)


class Waiters:
    """Starts calls that have to wait, each known to be in line before the next one comes."""

    def __call__(self, manager: LockManager, key: str, holder: str, timeout: float | None = None) -> Call:
        assert isinstance(manager, SpaceLockManager)
        graph = manager.space.table.graph
        before = len(graph)
        call = Call(manager.acquire_lock, (key, holder, timeout))
        assert eventually(lambda: len(graph) > before or not call.running), "it did not begin to wait"
        return call


@pytest.fixture
def waiting() -> Waiters:
    return Waiters()


class World:
    """What several processes share, for an Outside that a test can hold up at every call."""

    def __init__(self) -> None:
        self.owners: dict[str, tuple[object, str]] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.before.pop(name, lambda: None)()
        yield
        self.after.pop(name, lambda: None)()

    def process(self, *, quick: bool = True, graph: WaitGraph | None = None) -> Over:
        """Return a manager as a new process in this world would have it."""
        outside = Country(self)
        outside.quick = quick  # type: ignore[misc]
        return Over(LockSpace(outside, graph or WaitGraph()))


class Country(Outside):
    """One process's view of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def take(self, key: str, holder: str) -> Backing | None:
        with self.world.step("take"):
            if key not in self.world.owners:
                self.world.owners[key] = (self, holder)
                backing: Backing | None = Backing(shown=holder)
            else:
                backing = self._as_guest(key, holder)
        return backing

    def join(self, key: str, holder: str) -> Backing | None:
        with self.world.step("join"):
            return self._as_guest(key, holder)

    def _as_guest(self, key: str, holder: str) -> Backing | None:
        owner, shown = self.world.owners.get(key, (self, ""))
        return Backing(host=shown) if owner is not self and shown in lineage(holder) else None

    def drop(self, key: str, backing: Backing) -> bool:
        if backing.shown is None:
            return True
        with self.world.step("drop"):
            kept = self.world.owners.get(key, (None, ""))[0] is self
            if kept:
                del self.world.owners[key]
        return kept

    def rename(self, key: str, backing: Backing, heir: str) -> None:
        self.world.owners[key] = (self, heir)
        backing.shown = heir

    def seen(self, key: str) -> bool:
        return key in self.world.owners and self.world.owners[key][0] is not self

    def seen_with(self, key: str, holder: str) -> bool:
        return self._as_guest(key, holder) is not None

    def sound(self, key: str, backing: Backing) -> bool:
        owner, shown = self.world.owners.get(key, (None, ""))
        return owner is self if backing.shown is not None else shown == backing.host

    def pause(self, waited: float) -> float:
        return 0.001


@pytest.fixture
def world() -> World:
    return World()
