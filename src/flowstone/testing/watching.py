"""What the cache did: which task runs of a block were served from records, and which ran and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from flowstone.events import Event, TaskRunFinished
from flowstone.observers import observe

if TYPE_CHECKING:
    from flowstone.tasks import Task


class SeenRun(NamedTuple):
    """A task run that ended; `why` says why it was not served from a record, where there was a key to look under."""

    task: Task[..., Any]
    state: str
    why: str

    @property
    def cached(self) -> bool:
        return self.state == "Cached"

    def __str__(self) -> str:
        return f"{self.task.name}: {self.state}" + (f" ({self.why})" if self.why else "")


class SeenRuns(list[SeenRun]):
    """Task runs in the order they ended."""

    @property
    def cached(self) -> SeenRuns:
        return SeenRuns(run for run in self if run.cached)

    @property
    def ran(self) -> SeenRuns:
        return SeenRuns(run for run in self if not run.cached)

    def of(self, *tasks: Task[..., Any]) -> SeenRuns:
        """Return the runs of these tasks, copies made with `with_options` among them; of all if none is named."""
        wanted = [task.fn for task in tasks]
        return SeenRuns(run for run in self if not wanted or any(run.task.fn is fn for fn in wanted))

    def __str__(self) -> str:
        return "\n".join(f"  {run}" for run in self) or "  none"


@contextmanager
def watch_runs() -> Iterator[SeenRuns]:
    """Give the list of the task runs that end in this process while the block lasts, on whatever thread."""
    seen = SeenRuns()

    def see(event: Event) -> None:
        if isinstance(event, TaskRunFinished):
            seen.append(SeenRun(event.task, event.state.name, _why(event)))

    stop = observe(see)
    try:
        yield seen
    finally:
        stop()


def _why(event: TaskRunFinished) -> str:
    if event.state.name == "Cached":
        return ""
    if event.plan is None:
        return "nothing is cached here"
    return str(event.plan.reason if event.plan.key is None else event.lookup)


@contextmanager
def assert_cached(*tasks: Task[..., Any]) -> Iterator[SeenRuns]:
    """Raise AssertionError unless every run of these tasks, or of any, that ends in the block is served from a record.

    There must be at least one of each task that is named. Gives the runs seen.
    """
    with watch_runs() as seen:
        yield seen
    _refuse_silence(seen, tasks)
    wrong = seen.of(*tasks).ran
    if wrong:
        raise AssertionError(f"{len(wrong)} run(s) were not served from records:\n{wrong}")


@contextmanager
def assert_ran(*tasks: Task[..., Any]) -> Iterator[SeenRuns]:
    """Raise AssertionError if a run of these tasks, or of any, that ends in the block is served from a record.

    There must be at least one of each task that is named. Gives the runs seen.
    """
    with watch_runs() as seen:
        yield seen
    _refuse_silence(seen, tasks)
    wrong = seen.of(*tasks).cached
    if wrong:
        raise AssertionError(f"{len(wrong)} run(s) were served from records:\n{wrong}")


def _refuse_silence(seen: SeenRuns, tasks: tuple[Task[..., Any], ...]) -> None:
    silent = [task.name for task in tasks if not seen.of(task)]
    if silent or not seen:
        raise AssertionError(f"No run of {', '.join(silent) or 'any task'} ended in the block; runs seen:\n{seen}")
