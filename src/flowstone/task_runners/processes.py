"""Submitted tasks in other processes of this machine."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from contextvars import Context, copy_context
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from signal import Signals
from threading import Lock, Thread
from typing import Any, Final

from flowstone.context import Scope, current_scope
from flowstone.effects import adrive, drive
from flowstone.engine.generator_run import collect_generator_task
from flowstone.engine.task_run import new_run, run_task
from flowstone.exceptions import ConfigurationError, CrashedRun, SerializationError, UpstreamTaskError
from flowstone.futures import FlowstoneFuture
from flowstone.latch import Latch
from flowstone.settings import get_current_settings
from flowstone.states import NotReady
from flowstone.task_runners.base import TaskRunner
from flowstone.task_runners.dependencies import when_ready
from flowstone.task_runners.remote import Parcel, must_stay, parcel_of, resolved, take_back
from flowstone.task_runners.threads import end_with
from flowstone.task_runners.worker import LOG

_LOOK_SECONDS: Final = 0.5
_PROGRAM: Final = "import sys; sys.path[:] = {path!r}; from flowstone.task_runners.worker import main; main({fd})"


class ProcessPoolTaskRunner(TaskRunner):
    """Runs tasks in processes of this machine, each on the same engine.

    `max_workers` is how many run at once; without it, FLOWSTONE_TASKS_RUNNER_PROCESS_POOL_MAX_WORKERS says, and without
    that there is one for each core. Processes start when they are needed; the script that submits needs no
    `if __name__ == "__main__"`. What a run submits itself goes to threads of its own process. Arguments are pickled
    when a process is free for the run, so no more of them are under way than there are processes.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigurationError(f"ProcessPoolTaskRunner: max_workers={max_workers!r} must be 1 or more.")
        if os.name != "posix":
            raise ConfigurationError("ProcessPoolTaskRunner needs a POSIX system; use ThreadPoolTaskRunner.")
        self.max_workers = max_workers
        self._pool: _Pool | None = None
        self._gate = Lock()
        self._under_way = Latch()

    def duplicate(self) -> ProcessPoolTaskRunner:
        return ProcessPoolTaskRunner(self.max_workers)

    def start(self) -> None:
        with self._gate:
            if self._pool is not None:
                raise RuntimeError("This task runner is started already; duplicate() it for another block.")
            limit = self.max_workers or get_current_settings().tasks.runner.process_pool_max_workers
            self._pool = _Pool(limit or os.cpu_count() or 1)

    def stop(self) -> None:
        self._under_way.wait()
        with self._gate:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()

    def submit(
        self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None = None
    ) -> FlowstoneFuture[Any]:
        pool = self._pool
        if pool is None:
            raise RuntimeError("This task runner is not started; use it in a `with` block or give it to a flow.")
        scope = current_scope()
        future: FlowstoneFuture[Any] = FlowstoneFuture(new_run(task, scope))
        future.add_done_callback(self._under_way.done)
        job = _Job(task, args, kwargs, wait_for, future, scope, copy_context())
        self._under_way.add()
        when_ready((args, kwargs, wait_for), lambda: pool.submit(job))
        return future


class _Job:
    """A run on its way to a worker."""

    __slots__ = ("_args", "_context", "_kwargs", "_scope", "_task", "_wait_for", "future")

    def __init__(
        self,
        task: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wait_for: Iterable[Any] | None,
        future: FlowstoneFuture[Any],
        scope: Scope,
        context: Context,
    ) -> None:
        self._task = task
        self._args = args
        self._kwargs = kwargs
        self._wait_for = wait_for
        self.future = future
        self._scope = scope
        self._context = context

    def pack(self) -> Parcel | None:
        """Return the run packed, or None where it has ended already, because it cannot or need not be sent."""
        try:
            return self._context.run(self._pack)
        except UpstreamTaskError as error:
            self.future.finish(self.future.run.enter(NotReady(str(error), data=error)))
        except BaseException as error:
            end_with(self.future, error)
        return None

    def _pack(self) -> Parcel | None:
        run = self.future.run
        args, kwargs = resolved(self._args, self._kwargs, self._wait_for)
        if not must_stay(self._task, args, kwargs, run, self._scope):
            return parcel_of(self._task, args, kwargs, run, self._scope)
        start = collect_generator_task if self._task.isgenerator else run_task
        core = start(self._task, args, kwargs, None, run)
        if self._task.isasync:
            import asyncio  # heavy, and needed for async tasks only

            asyncio.run(adrive(core))
        else:
            drive(core)
        self.future.finish(run.state)
        return None

    def end(self, reply: bytes) -> None:
        """End the run as the reply says."""
        try:
            told = pickle.loads(reply)
        except BaseException as error:
            text = f"The reply of the worker cannot be loaded here: {type(error).__name__}: {error}"
            end_with(self.future, SerializationError(text))
            return
        self._context.run(take_back, told, self._task, self.future.run, self._scope.transaction)
        self.future.finish(self.future.run.state)


class _Pool:
    """Workers that take jobs from a queue; one is added whenever all are busy, up to a limit."""

    __slots__ = ("_free", "_gate", "_jobs", "_keepers", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = 0
        self._gate = Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._keepers: list[Thread] = []

    def submit(self, job: _Job) -> None:
        with self._gate:
            self._free -= 1
            if self._free < 0 and len(self._keepers) < self._limit:
                self._free += 1
                keeper = Thread(target=self._keep_one_busy, name="flowstone-process", daemon=True)
                self._keepers.append(keeper)
                keeper.start()
        self._jobs.put(job)

    def _keep_one_busy(self) -> None:
        worker: _Worker | None = None
        while (job := self._jobs.get()) is not None:
            parcel = job.pack()
            if parcel is not None:
                worker = _carried_out(job, parcel, worker)
            del job, parcel  # a worker at rest must not keep the last run's arguments alive
            with self._gate:
                self._free += 1
        if worker is not None:
            worker.close()

    def stop(self) -> None:
        for _ in self._keepers:
            self._jobs.put(None)
        for keeper in self._keepers:
            keeper.join()


def _carried_out(job: _Job, parcel: Parcel, worker: _Worker | None) -> _Worker | None:
    """Have a worker do the job; return the worker if it lives."""
    try:
        worker = _sent_to(worker, parcel)
        reply = worker.reply()
    except (EOFError, OSError) as error:
        death = f"could not be started: {error}" if worker is None else worker.how_it_died()
        end_with(job.future, CrashedRun(f"The process that ran {job.future.run.name!r} {death}."))
        return None
    job.end(reply)
    return worker


def _sent_to(worker: _Worker | None, parcel: Parcel) -> _Worker:
    """Send a run to the worker, or to a new one where that has died at rest; return who has it."""
    if worker is not None:
        try:
            worker.send(parcel)
        except OSError:
            worker.how_it_died()
        else:
            return worker
    worker = _Worker()
    worker.send(parcel)
    return worker


class _Worker:
    """One process; used by one thread at a time."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        program = _PROGRAM.format(path=sys.path, fd=theirs.fileno())
        try:
            self._process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[theirs.fileno()])
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def lives(self) -> bool:
        return self._process.poll() is None

    def send(self, parcel: Parcel) -> None:
        """Send a run; raises OSError when the process has died."""
        self._connection.send_bytes(pickle.dumps(tuple(parcel), 5))

    def reply(self) -> bytes:
        """Return how the run ended, once it has; raises EOFError or OSError when the process dies before."""
        while True:
            message = self._receive(self._connection)
            if message[:1] != LOG:
                return message[1:]
            record = logging.makeLogRecord(pickle.loads(message[1:]))
            logging.getLogger(record.name).handle(record)

    def _receive(self, connection: Connection) -> bytes:
        while not connection.poll(_LOOK_SECONDS):  # a process forked by the task may keep our connection open
            if not self.lives() and not connection.poll(0):
                raise EOFError
        return connection.recv_bytes()

    def how_it_died(self) -> str:
        self._connection.close()
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return "closed its connection and was ended"
        if code < 0:
            return f"was killed by {Signals(-code).name}"
        return f"ended with exit code {code}"

    def close(self) -> None:
        self._connection.close()
        self._process.wait()
