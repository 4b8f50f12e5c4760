"""Run a script in this process and report what its tasks do, one JSON object a line on standard output.

    python -m flowstone.demo.watch SCRIPT [ARGUMENT ...]

What the script itself prints is dropped; its errors are not. The process ends when its standard input does, so that it
cannot outlive whoever reads the report.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from threading import Thread
from typing import TextIO

from flowstone.events import Event, TaskRunFinished, TaskRunStarted
from flowstone.observers import observe
from flowstone.progress import run_name, task_end

ORPHANED = 75


class Reporter:
    """Writes down the task runs it observes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskRunStarted):
            self._write(started=run_name(event))
        elif isinstance(event, TaskRunFinished):
            self._write(**task_end(event)._asdict())

    def _write(self, **fields: object) -> None:
        self._out.write(json.dumps(fields) + "\n")
        self._out.flush()


def end_with_stdin() -> None:
    """End this process when nobody holds the other end of its standard input any more."""

    def wait() -> None:
        while os.read(0, 64):
            pass
        os._exit(ORPHANED)  # the script may be deep in native code; what it has published is whole

    Thread(target=wait, name="end-with-stdin", daemon=True).start()


def main(arguments: Sequence[str]) -> None:
    end_with_stdin()
    observe(Reporter(sys.stdout))
    sys.argv = list(arguments)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
