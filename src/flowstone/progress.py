"""Progress: a line for each task run as it ends, and what the cache has saved."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, TextIO

from flowstone.events import Event, TaskRunFinished, TaskRunStarted
from flowstone.observers import observe


class TaskEnd(NamedTuple):
    """How a task run ended; `seconds` is what its body took, for a cached one when the record was made."""

    name: str
    state: str
    seconds: float

    @property
    def cached(self) -> bool:
        return self.state == "Cached"

    def __str__(self) -> str:
        verb = "ran" if self.state == "Completed" else self.state.lower()
        return f"{verb:<8}{self.name:<32}{'saved' if self.cached else '':<6}{self.seconds:7.2f} s"


class Tally:
    """The task runs that ended, in the order they did. Threads may add to it at once."""

    __slots__ = ("ends",)

    def __init__(self) -> None:
        self.ends: list[TaskEnd] = []

    @property
    def ran(self) -> int:
        return len(self.ends) - self.cached

    @property
    def cached(self) -> int:
        return sum(end.cached for end in self.ends)

    @property
    def seconds_saved(self) -> float:
        """What the bodies of the cached tasks took when they ran."""
        return sum(end.seconds for end in self.ends if end.cached)

    def __str__(self) -> str:
        counts = f"{self.ran} ran, {self.cached} from the cache"
        return f"{counts}, saved {self.seconds_saved:.1f} s" if self.cached else counts


def run_name(event: TaskRunStarted | TaskRunFinished) -> str:
    """Return what a person knows the run by: its task's name, unless the task says how its runs are named."""
    return str(event.task.name if event.task.task_run_name is None else event.run.name)


def task_end(event: TaskRunFinished) -> TaskEnd:
    """Return what there is to tell of a task run that ended."""
    return TaskEnd(run_name(event), event.state.name, event.seconds)


@contextmanager
def show_progress(file: TextIO | None = None) -> Iterator[Tally]:
    """Print a line for each task run that ends in this process while the block lasts, then what the cache has saved.

    `file` is standard output if not given. The tally is the caller's to read, during the block and after.
    """
    tally, lock = Tally(), Lock()

    def show(event: Event) -> None:
        if isinstance(event, TaskRunFinished):
            end = task_end(event)
            tally.ends.append(end)
            with lock:  # tasks end on many threads; lines stay whole
                print(end, file=file or sys.stdout, flush=True)

    stop = observe(show)
    try:
        yield tally
    finally:
        stop()
        print(tally, file=file or sys.stdout, flush=True)
