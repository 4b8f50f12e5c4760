"""Futures: runs that were submitted, and ways to wait for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from flowstone.effects import drive
from flowstone.engine.resolve import resolve
from flowstone.exceptions import UpstreamTaskError
from flowstone.latch import wake
from flowstone.runs import TaskRun
from flowstone.states import State
from flowstone.upstream import Upstream, blocking_here

R = TypeVar("R")
Callback = Callable[["FlowstoneFuture[Any]"], object]

if TYPE_CHECKING:

    class PassesForItsResult(Awaitable[R], Any):  # type: ignore[misc]
        """A future may be given for a parameter of any type; a checker takes it there only if it derives from Any."""
else:

    class PassesForItsResult(Generic[R]):
        __slots__ = ()


_GATE = Lock()  # one for all: it is held for a few instructions, and a lock for each future would cost more


class FlowstoneFuture(Upstream, PassesForItsResult[R]):
    """A task run that was submitted to a task runner.

    Made by `task.submit`. May be waited for from any thread, awaited on any event loop, and passed to other tasks.
    """

    __slots__ = ("__weakref__", "_callbacks", "_event", "_state", "run", "task_name")

    def __init__(self, run: TaskRun) -> None:
        self.run = run
        self.task_name = run.task_name
        self._state: State[Any] | None = None
        self._event: Event | None = None
        self._callbacks: list[Callback] = []

    @property
    def task_run_id(self) -> str:
        return self.run.id

    @property
    def state(self) -> State[R]:
        """The state of the run as it stands."""
        return self._state if self._state is not None else self.run.state

    def done(self) -> bool:
        return self._state is not None

    def wait(self, timeout: float | None = None) -> None:
        """Return when the run has ended, or after `timeout` seconds; raises nothing that the run raised."""
        if self._state is not None:
            return
        with _GATE:
            if self._state is not None:
                return
            if self._event is None:
                self._event = Event()
        with blocking_here():
            self._event.wait(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Return what the task returned, or raise what it raised; waits for it.

        Raises TimeoutError after `timeout` seconds. With `raise_on_failure=False` the exception is returned.
        """
        self.wait(timeout)
        if self._state is None:
            raise TimeoutError(f"The run {self.run.name!r} was not done within {timeout} seconds.")
        return self._result(raise_on_failure)

    def _result(self, raise_on_failure: bool) -> R:
        state = self.state
        if state.name == "NotReady" and isinstance(state.data, UpstreamTaskError) and raise_on_failure:
            raise state.data
        return state.result(raise_on_failure=raise_on_failure)

    def add_done_callback(self, fn: Callback) -> None:
        """Call `fn(future)` when the run has ended, on the thread that ended it; at once if it has."""
        with _GATE:
            if self._state is None:
                self._callbacks.append(fn)
                return
        fn(self)

    async def wait_async(self) -> None:
        """Wait on the running event loop; a cancellation ends the wait, not the run."""
        import asyncio  # heavy, and loaded already wherever a coroutine runs

        if self._state is not None:
            return
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        self.add_done_callback(lambda _future: wake(loop, ended))
        await ended

    def __await__(self) -> Generator[Any, Any, R]:
        yield from self.wait_async().__await__()
        return self._result(raise_on_failure=True)

    def finish(self, state: State[Any]) -> None:
        """End the wait: this is the last state. Called once, by the task runner."""
        with _GATE:
            self._state = state
            callbacks, self._callbacks = self._callbacks, []
        if self._event is not None:
            self._event.set()
        for callback in callbacks:
            callback(self)

    def __repr__(self) -> str:
        return f"FlowstoneFuture({self.run.name!r}, {self.state})"


class FlowstoneFutureList(list[FlowstoneFuture[R]], PassesForItsResult[list[R]]):
    """The futures of one `map`, in the order of the items."""

    def wait(self, timeout: float | None = None) -> None:
        """Return when all runs have ended, or after `timeout` seconds."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Return all results in order, or raise what the first failed run raised; TimeoutError after `timeout` s."""
        if wait(self, timeout).not_done:
            raise TimeoutError(f"Not all of {len(self)} runs were done within {timeout} seconds.")
        return [future.result(raise_on_failure=raise_on_failure) for future in self]

    def __await__(self) -> Generator[Any, Any, list[R]]:
        for future in self:
            yield from future.wait_async().__await__()
        return self.result()


class DoneAndNotDone(NamedTuple):
    """What `wait` returns; a pair of sets."""

    done: set[FlowstoneFuture[Any]]
    not_done: set[FlowstoneFuture[Any]]


def wait(futures: Iterable[FlowstoneFuture[Any]], timeout: float | None = None) -> DoneAndNotDone:
    """Wait until all futures have ended or `timeout` seconds have passed; never raises what a run raised."""
    waiting = list(futures)
    arrivals = _Arrivals(waiting)
    arrivals.wait_for_all(timeout)
    return DoneAndNotDone({f for f in waiting if f.done()}, {f for f in waiting if not f.done()})


def as_completed(
    futures: Iterable[FlowstoneFuture[Any]], timeout: float | None = None
) -> Iterator[FlowstoneFuture[Any]]:
    """Yield each future as it ends; raises TimeoutError if they have not all ended within `timeout` seconds."""
    waiting = list(dict.fromkeys(futures))
    arrivals = _Arrivals(waiting)
    deadline = None if timeout is None else monotonic() + timeout
    for yielded in range(len(waiting)):
        left = None if deadline is None else max(0.0, deadline - monotonic())
        future = arrivals.next(left)
        if future is None:
            raise TimeoutError(f"{len(waiting) - yielded} of {len(waiting)} runs were not done in {timeout} seconds.")
        yield future


class _Arrivals:
    """The futures of one wait, in the order they ended."""

    __slots__ = ("_queue", "_total")

    def __init__(self, futures: list[FlowstoneFuture[Any]]) -> None:
        self._queue: SimpleQueue[FlowstoneFuture[Any]] = SimpleQueue()
        self._total = len(futures)
        for future in futures:
            future.add_done_callback(self._queue.put)

    def next(self, timeout: float | None) -> FlowstoneFuture[Any] | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            pass
        try:
            with blocking_here():
                return self._queue.get(timeout=timeout)
        except Empty:
            return None

    def wait_for_all(self, timeout: float | None) -> None:
        deadline = None if timeout is None else monotonic() + timeout
        for _ in range(self._total):
            if self.next(None if deadline is None else max(0.0, deadline - monotonic())) is None:
                return


def resolve_futures_to_results(value: Any) -> Any:
    """Return `value` with every future in it replaced by its result; waits for them."""
    (resolved,), _ = drive(resolve((value,), {}))
    return resolved
