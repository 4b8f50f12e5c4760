"""Real processes with lock managers: told what to do, stopped, killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).parent.parent / "locking" / "worker.py"


class Refused(Exception):
    """The order raised an error in the process; its type's name is the first argument."""


class Process:
    """A process that owns a lock manager."""

    def __init__(self, **options: Any) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._popen.pid

    def tell(self, *order: Any) -> None:
        """Give an order, and go on."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()

    def hear(self) -> tuple[Any, float]:
        """Wait for the answer to the oldest order; answer with it and when it came, by time.monotonic()."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, "the process has died"
        said = json.loads(line)
        if "error" in said:
            raise Refused(said["error"], said["text"])
        return said["value"], said.get("at", 0.0)

    def do(self, *order: Any) -> Any:
        """Give an order and wait for its answer."""
        self.tell(*order)
        return self.hear()[0]

    def silent(self, seconds: float) -> bool:
        """Say whether no answer comes for so long."""
        import select

        assert self._popen.stdout is not None
        waiting = select.poll()  # unlike select.select it takes descriptors of any number
        waiting.register(self._popen.stdout, select.POLLIN)
        return not waiting.poll(1000 * seconds)

    def stop(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def kill(self) -> float:
        """Kill the process as `kill -9` does; returns when, by time.monotonic()."""
        moment = time.monotonic()
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
        return moment


@pytest.fixture
def processes() -> Iterator[Callable[..., list[Process]]]:
    """Starts n processes: `processes(3, kind="filesystem", lock_files_directory=...)`."""
    started: list[Process] = []

    def start(number: int, **options: Any) -> list[Process]:
        fresh = [Process(**options) for _ in range(number)]
        started.extend(fresh)
        for process in fresh:
            assert process.hear()[0] == process.pid
        return fresh

    yield start
    for process in started:
        process.kill()
