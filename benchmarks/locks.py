"""Locks beside the floor of the same done by hand, and how soon a holder is succeeded: `python -m benchmarks.locks`.

Taking and giving back: CPU time of this process, the median of several rounds. Successions: wall time in milliseconds.
Redis is measured if `redis-server` and redis-py are installed, on 127.0.0.1.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flowstone.locking.base import LockManager, holder_path
from flowstone.locking.filesystem import FileSystemLockManager
from flowstone.locking.memory import MemoryLockManager

ROUNDS = int(os.environ.get("FLOWSTONE_BENCH_ROUNDS", "7"))
LEASE = 1.0

HOLDER = """
import sys, time
from flowstone.locking.base import holder_path
from flowstone.locking.{module} import {manager}
manager = {manager}({arguments})
print(manager.is_locked("k"), flush=True)
manager.acquire_lock("k", holder_path(None))
print(time.monotonic(), flush=True)
sys.stdin.read()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, redis_server() as port:
        managers: dict[str, LockManager] = {"memory": MemoryLockManager(), "files": FileSystemLockManager(folder)}
        if port is not None:
            from flowstone.locking.redis import RedisLockManager

            managers["redis"] = RedisLockManager(port=port, lease=LEASE)
        print("take and give back, microseconds of CPU")
        show_costs(managers, folder, port)
        print("\nsuccession, milliseconds: median (most)")
        for name, manager in managers.items():
            show("thread to thread", name, [between_threads(manager) for _ in range(ROUNDS * 10)])
        show("process to process, killed", "files", successions("filesystem", "FileSystemLockManager", repr(folder)))
        if port is not None:
            arguments = f"port={port}, lease={LEASE}"
            show(f"the same, lease {LEASE} s", "redis", successions("redis", "RedisLockManager", arguments))
        print("\n1,000 locks held at once, microseconds of CPU for one more")
        show_crowded(managers)


def show_costs(managers: dict[str, LockManager], folder: str, port: int | None) -> None:
    holder = holder_path(None)
    child = holder_path(holder)
    cost("holder_path, a new name", lambda: holder_path(holder))
    mutex = threading.Lock()
    cost("floor: threading.Lock", lambda: (mutex.acquire(), mutex.release()))
    cost("memory", taking(managers["memory"], holder))
    cost("floor: two byte locks of the system, a stat", byte_locks(folder))
    cost("files", taking(managers["files"], holder))
    if port is not None:
        cost("floor: SET NX, DEL in Redis", redis_by_hand(port), 300)
        cost("redis", taking(managers["redis"], holder), 300)
    for name, manager in managers.items():
        manager.acquire_lock("k", holder)
        cost(f"{name}, entered again by a child", taking(manager, child))
        if name != "redis":
            cost(f"{name}, still_held", lambda manager=manager: manager.still_held("k", holder))  # type: ignore[misc]
        manager.release_lock("k", holder)


def show_crowded(managers: dict[str, LockManager]) -> None:
    for name in ("memory", "files"):
        for number in range(1000):
            managers[name].acquire_lock(f"crowd {number}", "crowd")
        cost(name, taking(managers[name], "one more"))
        for number in range(1000):
            managers[name].release_lock(f"crowd {number}", "crowd")


def taking(manager: LockManager, holder: str) -> Callable[[], object]:
    def take() -> None:
        manager.acquire_lock("k", holder)
        manager.release_lock("k", holder)

    return take


def byte_locks(folder: str) -> Callable[[], object]:
    path = os.path.join(folder, "by hand")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    lock = [struct.pack("@hhqqi4x", fcntl.F_WRLCK, 0, place, 1, 0) for place in (2**60, 2**60 + 1)]
    unlock = [struct.pack("@hhqqi4x", fcntl.F_UNLCK, 0, place, 1, 0) for place in (2**60, 2**60 + 1)]

    def take() -> None:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock[0])
        os.stat(path)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock[1])
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, unlock[1])
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, unlock[0])

    return take


def redis_by_hand(port: int) -> Callable[[], object]:
    import redis

    client = redis.Redis(port=port)
    return lambda: (client.set("by hand", "me", nx=True, px=1000), client.delete("by hand"))


def between_threads(manager: LockManager) -> float:
    """Return the milliseconds from the release in one thread to the entry of another."""
    manager.acquire_lock("k", "first")
    moments: list[float] = []

    def wait() -> None:
        manager.acquire_lock("k", "second")
        moments.append(time.monotonic())
        manager.release_lock("k", "second")

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.01)
    released = time.monotonic()
    manager.release_lock("k", "first")
    waiter.join()
    return (moments[0] - released) * 1000


def successions(module: str, manager: str, arguments: str) -> list[float]:
    """Kill the holder again and again; return the milliseconds until the waiter had the lock."""
    program = [sys.executable, "-c", HOLDER.format(module=module, manager=manager, arguments=arguments)]
    times = []
    holder = start(program)
    holder.stdout.readline()
    for _ in range(ROUNDS):
        waiter = start(program)
        time.sleep(0.5)  # it asks less and less often
        killed = time.monotonic()
        holder.kill()
        times.append((float(waiter.stdout.readline()) - killed) * 1000)
        holder.communicate()
        holder = waiter
    holder.kill()
    holder.communicate()
    return times


def start(program: list[str]) -> Any:
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it is about to ask for the lock
    return process


@contextmanager
def redis_server() -> Iterator[int | None]:
    program = shutil.which("redis-server")
    try:
        import redis
    except ImportError:
        program = None
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.01)
        yield port
    finally:
        server.kill()
        server.wait()


def cost(name: str, work: Callable[[], object], times: int = 3000) -> None:
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - began) / times * 1e6)
    print(f"  {name:<46} {statistics.median(rounds):8.2f}", flush=True)


def show(what: str, name: str, times: list[float]) -> None:
    print(f"  {what:<38} {name:<8} {statistics.median(times):8.2f}  ({max(times):.2f})", flush=True)


if __name__ == "__main__":
    main()
