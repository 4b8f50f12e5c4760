"""The part of logging that needs the standard library's own; imported with the first line that is logged.

That import costs about a third of what all of flowstone does, and a program that only looks results up logs nothing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

from flowstone.context import get_run_context
from flowstone.runs import FlowRun, TaskRun

if TYPE_CHECKING:
    from flowstone.settings import Settings

ROOT: Final = logging.getLogger("flowstone")
TASK_RUNS: Final = logging.getLogger("flowstone.task_runs")
FLOW_RUNS: Final = logging.getLogger("flowstone.flow_runs")

RunLogger = logging.LoggerAdapter[logging.Logger]


class RunAdapter(logging.LoggerAdapter[logging.Logger]):
    """Puts the ids and names of a run on every record."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class Console(logging.Handler):
    """Writes to whatever standard error is at the moment, so that tests and notebooks see it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


class Format(logging.Formatter):
    """`12:34:56.789 | INFO    | Task run 'x' - message`, coloured by level where the terminal can."""

    COLOURS: Final = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}

    def __init__(self, colours: bool) -> None:
        super().__init__("%(message)s")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        clock = self.formatTime(record, "%H:%M:%S")
        level = f"{record.levelname:<7}"
        if self._colours:
            level = f"\x1b[{self.COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        who = getattr(record, "run_label", record.name)
        return f"{clock}.{int(record.msecs):03d} | {level} | {who} - {super().format(record)}"


def run_logger(run: TaskRun | FlowRun) -> RunLogger:
    """Return the logger of one run."""
    if isinstance(run, FlowRun):
        told: dict[str, object] = {
            "flow_run_id": run.id,
            "flow_run_name": run.name,
            "flow_name": run.flow_name,
            "run_label": f"Flow run {run.name!r}",
        }
        return RunAdapter(FLOW_RUNS, told)
    told = {
        "task_run_id": run.id,
        "task_run_name": run.name,
        "task_name": run.task_name,
        "flow_run_id": run.flow_run_id,
        "run_label": f"Task run {run.name!r}",
    }
    return RunAdapter(TASK_RUNS, told)


def get_run_logger(context: Any = None, **kwargs: object) -> RunLogger:
    """Return the logger of the run around the caller; `kwargs` are put on each record.

    Raises MissingContextError outside of runs.
    """
    found: Any = context or get_run_context()
    run: TaskRun | FlowRun = getattr(found, "task_run", None) or found.flow_run
    adapter = run_logger(run)
    adapter.extra = {**(adapter.extra or {}), **kwargs}
    return adapter


def get_logger(name: str | None = None) -> logging.Logger:
    """Return flowstone's logger, or a child of it."""
    return ROOT if not name or name == "flowstone" else ROOT.getChild(name.removeprefix("flowstone."))


class _Setup:
    """What has been set up, so that it is done once and follows the settings."""

    __slots__ = ("console", "settings")

    def __init__(self) -> None:
        self.console: Console | None = None
        self.settings: Settings | None = None


_setup = _Setup()


def follow(settings: Settings) -> None:
    """Have the console follow these settings; costs nothing when they are the ones it follows already."""
    if settings is _setup.settings:
        return
    _setup.settings = settings
    ROOT.setLevel(settings.logging.level)
    if logging.getLogger().handlers or [h for h in ROOT.handlers if h is not _setup.console]:
        _remove_console()
        return
    if _setup.console is None:
        _setup.console = Console()
        ROOT.addHandler(_setup.console)
    colours = settings.logging.colors and sys.stderr is not None and sys.stderr.isatty()
    _setup.console.setFormatter(Format(colours))


def _remove_console() -> None:
    if _setup.console is not None:
        ROOT.removeHandler(_setup.console)
        _setup.console = None
