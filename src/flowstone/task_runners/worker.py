"""The other end: a process that is sent runs, carries them out with the same engine, and tells how they ended."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import traceback
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from multiprocessing.connection import Connection
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

from flowstone import commits
from flowstone._loggers import ROOT
from flowstone.context import enter_scope, enter_tags
from flowstone.effects import adrive, drive
from flowstone.engine.generator_run import collect_generator_task
from flowstone.engine.task_run import run_task
from flowstone.exceptions import ConfigurationError, FailedRun, SerializationError
from flowstone.runs import TaskRun
from flowstone.settings import temporary_settings
from flowstone.settings.schema import SETTINGS
from flowstone.states import Crashed, Failed, State
from flowstone.task_runners.remote import Call, Parcel, Reply, Surroundings, node_of, rebuilt_scope
from flowstone.task_runners.shipping import dumps
from flowstone.transactions import Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowstone.settings.setting import Setting

LOG: Final = b"L"
REPLY: Final = b"R"
_KEPT: Final = 64


class Unpacked:
    """The last few things that came in under some bytes, so that what comes again need not be made again."""

    def __init__(self) -> None:
        self._things: OrderedDict[bytes, Any] = OrderedDict()

    def get(self, packed: bytes, make: Callable[[bytes], Any] = pickle.loads) -> Any:
        found = self._things.get(packed)
        if found is None:
            found = self._things[packed] = make(packed)
            if len(self._things) > _KEPT:
                self._things.popitem(last=False)
        self._things.move_to_end(packed)
        return found


_tasks: Final = Unpacked()
_contexts: Final = Unpacked()


def perform(parcel: Parcel) -> bytes:
    """Carry out one run and return the reply, packed. Raises what makes it impossible to know the run at all."""
    call: Call = pickle.loads(parcel.call)
    try:
        task = _tasks.get(parcel.task)
        surroundings, context = _contexts.get(parcel.surroundings, _context_for)
    except Exception as error:
        call.run.enter(
            Crashed(
                f"The worker process cannot load the run: {type(error).__name__}: {error}",
                data=SerializationError(f"The worker process cannot load the run: {type(error).__name__}: {error}"),
            )
        )
        return _packed(Reply(call.run, [], 0.0))
    reply: Reply = context.copy().run(_carry_out, task, surroundings, call)
    return _packed(reply)


def _context_for(packed: bytes) -> tuple[Surroundings, Context]:
    """Return a context with the settings and tags of where runs were submitted; each run gets a copy."""
    surroundings: Surroundings = pickle.loads(packed)
    context = Context()
    given = surroundings.settings
    settings = temporary_settings(
        cast("Mapping[str | Setting, object]", given), [name for name in SETTINGS if name not in given]
    )
    context.run(settings.__enter__)
    context.run(enter_tags, surroundings.tags)
    return surroundings, context


def _carry_out(task: Any, surroundings: Surroundings, call: Call) -> Reply:
    scope = rebuilt_scope(surroundings, call.group)
    enter_scope(scope)
    ROOT.setLevel(surroundings.log_level)
    run = call.run
    start = collect_generator_task if task.isgenerator else run_task
    seconds = 0.0
    try:
        core = start(task, call.args, call.kwargs, None, run)
        seconds = (_on_loop(core) if task.isasync else drive(core)).seconds
    except BaseException as error:
        if not run.state.is_final():
            run.enter(Crashed(f"{type(error).__name__}: {error}", data=error))
    if scope.flow is not None:
        scope.flow.children.wait()
        for close in scope.flow.at_end:
            close()
    nodes = [] if scope.transaction is None else _staged(scope.transaction, task, run)
    return Reply(run, nodes, seconds)


def _on_loop(core: Any) -> Any:
    import asyncio

    return asyncio.run(adrive(core))


def _staged(root: Transaction, task: Any, run: TaskRun) -> list[Any]:
    """Return what the run leaves to the transaction around it, which is in another process."""
    if root.locks:
        error = ConfigurationError(
            f"Task {task.name!r} called a task under SERIALIZABLE isolation, inside a transaction of another process, "
            "which cannot hold its lock; run it on threads, or outside of the transaction."
        )
        drive(commits.undo_after(root, error))
        run.enter(Failed(str(error), data=error))
        return []
    return [node_of(child, task, run) for child in root.children]


def _packed(reply: Reply) -> bytes:
    errors = [state.data for state in reply.run.states if isinstance(state.data, BaseException)]
    for error in errors:
        _tell_where(error)
    try:
        packed = dumps(reply)
        pickle.loads(dumps(errors))  # many an exception can be written but not read
    except Exception as error:
        return dumps(Reply(_described(reply.run, error), [], reply.seconds))
    return packed


def _tell_where(error: BaseException) -> None:
    """The traceback cannot be sent, but its text can."""
    if error.__traceback__ is not None:
        text = "".join(traceback.format_exception(error))
        error.add_note(f"In the worker process {os.getpid()}:\n{text}")
        error.__traceback__ = None


def _described(run: TaskRun, trouble: Exception) -> TaskRun:
    """Put descriptions in the place of what cannot be sent."""
    for state in run.states:
        state._data = _sendable(state, trouble)
    last = run.state
    if last.is_completed():
        told = (
            f"The task ended well, but its result cannot be sent from the worker: {type(trouble).__name__}: {trouble}"
        )
        run.enter(Failed(told, data=SerializationError(told)))
    return run


def _sendable(state: State[Any], trouble: Exception) -> Any:
    data = state.data
    if not isinstance(data, BaseException):
        return None
    try:
        pickle.loads(dumps(data))
    except Exception:
        described = FailedRun(f"{type(data).__name__}: {data}")
        described.add_note(f"The exception itself cannot be sent from the worker: {type(trouble).__name__}: {trouble}")
        for note in getattr(data, "__notes__", ()):
            described.add_note(str(note))
        return described
    return data


class _ShipLogs(logging.Handler):
    """Sends what is logged to the process that submitted the run, whose handlers decide what becomes of it."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        try:
            self._send(LOG + pickle.dumps(record.__dict__))
        except Exception:
            self.handleError(record)


def main(descriptor: int) -> None:
    """Serve the process at the other end of a connection until it closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the submitting process's to deal with
    connection = Connection(descriptor)
    gate = Lock()

    def send(message: bytes) -> None:
        with gate:
            connection.send_bytes(message)

    ROOT.handlers[:] = [_ShipLogs(send)]
    ROOT.propagate = False
    while True:
        try:
            parcel = Parcel(*pickle.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            return
        send(REPLY + perform(parcel))
