"""A process with a lock manager that does what it is told, one JSON line at a time; see plugins/lock_processes.py."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from flowstone.locking.base import LockManager
from flowstone.locking.filesystem import FileSystemLockManager
from flowstone.locking.redis import RedisLockManager


def make(kind: str, **options: Any) -> LockManager:
    kinds: dict[str, Any] = {"filesystem": FileSystemLockManager, "redis": RedisLockManager}
    manager: LockManager = kinds[kind](**options)
    return manager


def fork(manager: LockManager, then: list[Any], seconds: float) -> dict[str, Any]:
    """Fork a child that calls a method and then lives on for `seconds`; answer with its pid and what it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, json.dumps(answer(manager, then)).encode())
        os.close(writing)
        time.sleep(seconds)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return {"pid": pid, "said": json.loads(pipe.read())}


def count(manager: LockManager, path: str, threads: int, rounds: int) -> int:
    """Add to a number in a file under the lock, from many threads; a lost update shows that two were inside."""
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(rounds):
                assert manager.acquire_lock("counter", name)
                with open(path) as file:
                    number = int(file.read())
                with open(path, "w") as file:
                    file.write(str(number + 1))
                manager.release_lock("counter", name)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(f"{os.getpid()}-{number}",)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return threads * rounds


def open_files(manager: LockManager, folder: str) -> list[str]:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.exists(link) and os.readlink(link).startswith(folder)]


def answer(manager: LockManager, order: list[Any]) -> dict[str, Any]:
    name, *arguments = order
    own = {"fork": fork, "count": count, "open_files": open_files}
    try:
        value = own[name](manager, *arguments) if name in own else getattr(manager, name)(*arguments)
        return {"value": value, "at": time.monotonic()}
    except BaseException as error:
        return {"error": type(error).__name__, "text": str(error), "at": time.monotonic()}


def main() -> None:
    manager = make(**json.loads(sys.argv[1]))
    print(json.dumps({"value": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(manager, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
