"""Submitted tasks on threads: sync ones in a pool, async ones together on one event loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

from flowstone.context import current_scope
from flowstone.effects import adrive, drive
from flowstone.engine.generator_run import collect_generator_task
from flowstone.engine.task_run import TaskCall, new_run, run_task
from flowstone.exceptions import ConfigurationError
from flowstone.futures import FlowstoneFuture
from flowstone.latch import Latch
from flowstone.settings import get_current_settings
from flowstone.states import Crashed
from flowstone.task_runners.base import TaskRunner
from flowstone.task_runners.dependencies import when_ready
from flowstone.upstream import this_worker_blocks_with

Job = Callable[[], None]


class ThreadPoolTaskRunner(TaskRunner):
    """Runs tasks on threads of this process.

    `max_workers` is how many sync tasks may run at once; without it, FLOWSTONE_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS
    says, and without that there is no limit. Async tasks share one event loop and are not limited.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigurationError(f"ThreadPoolTaskRunner: max_workers={max_workers!r} must be 1 or more.")
        self.max_workers = max_workers
        self._pool: _Pool | None = None
        self._loop: _LoopThread | None = None
        self._gate = Lock()
        self._under_way = Latch()

    def duplicate(self) -> ThreadPoolTaskRunner:
        return ThreadPoolTaskRunner(self.max_workers)

    def start(self) -> None:
        with self._gate:
            if self._pool is not None:
                raise RuntimeError("This task runner is started already; duplicate() it for another block.")
            limit = self.max_workers or get_current_settings().tasks.runner.thread_pool_max_workers
            self._pool = _Pool(limit or sys.maxsize)

    def stop(self) -> None:
        self._under_way.wait()
        with self._gate:
            pool, loop, self._pool, self._loop = self._pool, self._loop, None, None
        if pool is not None:
            pool.stop()
        if loop is not None:
            loop.stop()

    def submit(
        self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None = None
    ) -> FlowstoneFuture[Any]:
        if self._pool is None:
            raise RuntimeError("This task runner is not started; use it in a `with` block or give it to a flow.")
        scope = current_scope()
        future: FlowstoneFuture[Any] = FlowstoneFuture(new_run(task, scope))
        core = (collect_generator_task if task.isgenerator else run_task)(task, args, kwargs, wait_for, future.run)
        self._under_way.add()
        context = copy_context()
        start = self._on_loop if task.isasync else self._on_thread
        when_ready((args, kwargs, wait_for), lambda: start(context, core, future))
        return future

    def _on_thread(self, context: Any, core: Coroutine[Any, Any, TaskCall], future: FlowstoneFuture[Any]) -> None:
        def job() -> None:
            try:
                call = context.run(drive, core)
            except BaseException as error:
                end_with(future, error)
            else:
                future.finish(call.run.state)
            finally:
                self._under_way.done()

        pool = self._pool
        assert pool is not None
        pool.submit(job)

    def _on_loop(self, context: Any, core: Coroutine[Any, Any, TaskCall], future: FlowstoneFuture[Any]) -> None:
        async def job() -> None:
            try:
                call = await adrive(core)
            except BaseException as error:
                end_with(future, error)
            else:
                future.finish(call.run.state)
            finally:
                self._under_way.done()

        with self._gate:
            if self._loop is None:
                self._loop = _LoopThread()
        self._loop.submit(job, context)


def end_with(future: FlowstoneFuture[Any], error: BaseException) -> None:
    """End a run that the engine could not carry to a last state of its own."""
    state: Any = future.run.state
    if not state.is_final():
        state = future.run.enter(Crashed(f"{type(error).__name__}: {error}", data=error))
    future.finish(state)


class _Pool:
    """Threads that take jobs from a queue; one is added whenever all are busy, up to a limit.

    A worker that waits for another run does not count against the limit while it waits.
    """

    __slots__ = ("_free", "_gate", "_jobs", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._free = 0
        self._gate = Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()

    def submit(self, job: Job) -> None:
        with self._gate:
            self._free -= 1
            needed = self._free < 0 and self._size < self._limit
            if needed:
                self._size += 1
                self._free += 1
        self._jobs.put(job)
        if needed:
            self._spawn()

    def _spawn(self) -> None:
        Thread(target=self._work, name="flowstone-worker", daemon=True).start()

    def _work(self) -> None:
        this_worker_blocks_with(self._waiting)
        while (job := self._jobs.get()) is not None:
            job()
            del job  # a worker at rest must not keep the last run's result alive
            with self._gate:
                self._free += 1
                if self._size > self._limit and self._free > 0:
                    self._size -= 1
                    self._free -= 1
                    return

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Let another worker in while this one waits."""
        with self._gate:
            self._limit += 1
            needed = self._free < 0 and self._size < self._limit
            if needed:
                self._size += 1
                self._free += 1
        if needed:
            self._spawn()
        try:
            yield
        finally:
            with self._gate:
                self._limit -= 1

    def stop(self) -> None:
        with self._gate:
            size = self._size
        for _ in range(size):
            self._jobs.put(None)


class _LoopThread:
    """An event loop on a thread of its own, for async tasks submitted from anywhere."""

    __slots__ = ("_loop", "_thread")

    def __init__(self) -> None:
        import asyncio  # heavy, and needed only once an async task is submitted

        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="flowstone-loop", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Coroutine[Any, Any, None]], context: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: _KEPT.keep(self._loop.create_task(job(), context=context)))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Kept:
    """Holds running asyncio tasks, which the loop itself holds only weakly."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[Any] = set()

    def keep(self, task: Any) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_KEPT: Final = _Kept()
