"""Loggers of runs, the console they write to, and prints that become log lines.

flowstone logs under the name `flowstone`. If nobody has set up logging when the first run starts, a console handler is
added, at the level of FLOWSTONE_LOGGING_LEVEL; a program with handlers of its own keeps them, and gets the records.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any

from flowstone.context import current_scope

if TYPE_CHECKING:
    from logging import Logger

    from flowstone._loggers import RunLogger
    from flowstone.runs import FlowRun, TaskRun
    from flowstone.settings import Settings


@cache
def _real() -> Any:
    return import_module("flowstone._loggers")


def run_logger(run: TaskRun | FlowRun) -> RunLogger:
    """Return the logger of one run."""
    logger: RunLogger = _real().run_logger(run)
    return logger


def get_run_logger(context: Any = None, **kwargs: object) -> RunLogger:
    """Return the logger of the run around the caller; `kwargs` are put on each record.

    Raises MissingContextError outside of runs.
    """
    logger: RunLogger = _real().get_run_logger(context, **kwargs)
    return logger


def get_logger(name: str | None = None) -> Logger:
    """Return flowstone's logger, or a child of it."""
    logger: Logger = _real().get_logger(name)
    return logger


def follow(settings: Settings) -> None:
    """Have the console follow these settings; costs nothing when they are the ones it follows already."""
    _real().follow(settings)


class _Prints:
    """Counts the runs that want their prints logged; `print` is replaced while there is one."""

    __slots__ = ("count", "lock", "original")

    def __init__(self) -> None:
        self.count = 0
        self.lock = Lock()
        self.original = builtins.print


_prints = _Prints()


@contextmanager
def prints_logged() -> Iterator[None]:
    """Send what runs that ask for it print to their loggers, while the block lasts."""
    with _prints.lock:
        if _prints.count == 0:
            _prints.original = builtins.print
            builtins.print = _print_to_log
        _prints.count += 1
    try:
        yield
    finally:
        with _prints.lock:
            _prints.count -= 1
            if _prints.count == 0 and builtins.print is _print_to_log:
                builtins.print = _prints.original


def _print_to_log(
    *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    scope = current_scope()
    context = scope.task or scope.flow
    if context is None or not context.log_prints or file not in (None, sys.stdout):
        _prints.original(*values, sep=sep, end=end, file=file, flush=flush)
        return
    run = context.task_run if scope.task is not None else context.flow_run  # type: ignore[union-attr]
    run_logger(run).info("%s", (" " if sep is None else sep).join(map(str, values)))
