"""What the engine may ask of the world, and the drivers that answer.

The engine is written once, as `async def` functions that await effects and nothing else. Two drivers run it: `drive`
answers each effect on the calling thread, `adrive` on an event loop. A third in the tests kills the run at effect n.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Generic, TypeVar, cast

from flowstone.clock import Clock
from flowstone.exceptions import RunTimeoutError
from flowstone.timeouts import interrupting

T = TypeVar("T")
Core = Coroutine[Any, Any, T]


class Effect(Generic[T]):
    """One request of the engine; awaiting it gives the answer.

    `cleanup` marks an effect that runs even when the run has been cancelled meanwhile.
    """

    __slots__ = ()
    cleanup: bool = False

    def __await__(self) -> Generator[Effect[T], T, T]:
        return (yield self)

    def run(self) -> T:
        """Answer on the calling thread."""
        raise TypeError(f"{type(self).__name__} can be answered only on an event loop.")

    async def arun(self) -> T:
        """Answer on the running event loop."""
        return self.run()


class Blocking(Effect[T]):
    """Run `work`, which may wait for a disk, a lock or a network.

    On an event loop it runs in a thread, unless it is quick (`inline`) or has an async twin. Once under way it
    finishes; a cancellation is delivered at the next effect, so nothing is taken with nobody left to release it.
    """

    __slots__ = ("cleanup", "inline", "twin", "work")

    def __init__(
        self,
        work: Callable[[], T],
        *,
        inline: bool = False,
        twin: Callable[[], Awaitable[T]] | None = None,
        cleanup: bool = False,
    ) -> None:
        self.work = work
        self.inline = inline
        self.twin = twin
        self.cleanup = cleanup

    def run(self) -> T:
        return self.work()

    async def arun(self) -> T:
        if self.inline:
            return self.work()
        if self.twin is not None:
            return await self.twin()
        return await _to_the_end(self.work)


class Sleep(Effect[None]):
    """Wait `seconds` by the given clock."""

    __slots__ = ("clock", "seconds")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self.clock = clock

    def run(self) -> None:
        self.clock.sleep(self.seconds)

    async def arun(self) -> None:
        await self.clock.asleep(self.seconds)


class Returned(Generic[T]):
    """User code gave a value."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class Raised:
    """User code raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Exhausted(Generic[T]):
    """A user's generator came to its end; `value` is what it returned."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


Outcome = Returned[T] | Raised


class Invoke(Effect[Outcome[T]]):
    """Call user code; answers with what it returned or raised and never raises through the engine.

    `timeout` is in seconds; past it the code is interrupted and the outcome is a raised RunTimeoutError.
    """

    __slots__ = ("args", "fn", "kwargs", "timeout")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        timeout: float | None = None,
    ) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.timeout = timeout

    def run(self) -> Outcome[T]:
        try:
            if self.timeout is None:
                return Returned(self.fn(*self.args, **self.kwargs))
            with interrupting(self.timeout):
                return Returned(self.fn(*self.args, **self.kwargs))
        except BaseException as error:
            return Raised(_without_our_frames(error))

    async def arun(self) -> Outcome[T]:
        try:
            if self.timeout is None:
                return Returned(await self.fn(*self.args, **self.kwargs))
            return Returned(await _within(self.timeout, self.fn(*self.args, **self.kwargs)))
        except BaseException as error:
            return Raised(_without_our_frames(error))


class CallHook(Effect[Outcome[Any]]):
    """Call a user's hook, sync or async, wherever the engine runs."""

    __slots__ = ("args", "fn")
    cleanup = True

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fn = fn
        self.args = args

    def run(self) -> Outcome[Any]:
        try:
            answer = self.fn(*self.args)
            return Returned(_finish(answer) if isinstance(answer, Coroutine) else answer)
        except BaseException as error:
            return Raised(error)

    async def arun(self) -> Outcome[Any]:
        try:
            answer = self.fn(*self.args)
            return Returned(await answer if isinstance(answer, Awaitable) else answer)
        except BaseException as error:
            return Raised(error)


class Advance(Effect["Returned[Any] | Raised | Exhausted[Any]"]):
    """Take the next item of a user's generator, sync or async, sending `value` or throwing `error` into it."""

    __slots__ = ("error", "generator", "value")

    def __init__(
        self,
        generator: Generator[Any, Any, Any] | AsyncGenerator[Any, Any],
        value: object = None,
        error: BaseException | None = None,
    ) -> None:
        self.generator = generator
        self.value = value
        self.error = error

    def run(self) -> Returned[Any] | Raised | Exhausted[Any]:
        generator = cast("Generator[Any, Any, Any]", self.generator)
        try:
            return Returned(generator.send(self.value) if self.error is None else generator.throw(self.error))
        except StopIteration as stop:
            return Exhausted(stop.value)
        except BaseException as error:
            return Raised(error)

    async def arun(self) -> Returned[Any] | Raised | Exhausted[Any]:
        generator = cast("AsyncGenerator[Any, Any]", self.generator)
        try:
            step = generator.asend(self.value) if self.error is None else generator.athrow(self.error)
            return Returned(await step)
        except StopAsyncIteration:
            return Exhausted(None)
        except BaseException as error:
            return Raised(error)


class Emit(Effect[object]):
    """Hand an item of a generator task to the caller; answers with what the caller sends back."""

    __slots__ = ("item",)

    def __init__(self, item: object) -> None:
        self.item = item


class CallerLeft(BaseException):
    """What a core is told at Emit when the caller leaves before the end; it cleans up and raises it again.

    GeneratorExit itself will not do: thrown into a coroutine, it closes what that awaits, so no effect could follow.
    """


def drive(core: Core[T]) -> T:
    """Run `core` to its end on this thread."""
    send = core.send
    try:
        effect = send(None)
        while True:
            try:
                answer = effect.run()
            except AttributeError as error:
                effect = core.throw(_foreign(effect) or error)
            except BaseException as error:
                effect = core.throw(error)
            else:
                effect = send(answer)
    except StopIteration as stop:
        return cast("T", stop.value)


async def adrive(core: Core[T]) -> T:
    """Run `core` to its end on the running event loop."""
    journey = _Journey(core)
    while (effect := journey.next_effect()) is not None:
        await journey.answer(effect)
    return cast("T", journey.result())


def drive_generator(core: Core[T]) -> Generator[Any, Any, T]:
    """Run `core` on the consuming thread, yielding each item that it emits."""
    journey = _Journey(core)
    try:
        while (effect := journey.next_effect()) is not None:
            if isinstance(effect, Emit):
                try:
                    journey.given((yield effect.item))
                except BaseException as error:
                    journey.thrown_in(error)
            else:
                journey.answer_here(effect)
    except CallerLeft:
        raise GeneratorExit from None
    return cast("T", journey.result())


async def adrive_generator(core: Core[Any]) -> AsyncGenerator[Any, Any]:
    """Run `core` on the running event loop, yielding each item that it emits."""
    journey = _Journey(core)
    try:
        while (effect := journey.next_effect()) is not None:
            if isinstance(effect, Emit):
                try:
                    journey.given((yield effect.item))
                except BaseException as error:
                    journey.thrown_in(error)
            else:
                await journey.answer(effect)
    except CallerLeft:
        raise GeneratorExit from None
    journey.result()


class _Journey(Generic[T]):
    """A core on its way: the answer it waits for, and a cancellation not yet delivered."""

    __slots__ = ("_answer", "_core", "_error", "_late", "_result")

    def __init__(self, core: Core[T]) -> None:
        self._core = core
        self._answer: object = None
        self._error: BaseException | None = None
        self._late: BaseException | None = None
        self._result: object = None

    def next_effect(self) -> Effect[Any] | None:
        """Step the core; None when it is at its end."""
        answer, error, self._answer, self._error = self._answer, self._error, None, None
        try:
            effect = self._core.send(answer) if error is None else self._core.throw(error)
            while not isinstance(effect, Effect):
                effect = self._core.throw(_foreign(effect) or TypeError())
        except StopIteration as stop:
            self._result = stop.value
            return None
        return effect

    def given(self, answer: object) -> None:
        self._answer = answer

    def thrown_in(self, error: BaseException) -> None:
        self._error = CallerLeft() if isinstance(error, GeneratorExit) else error

    def answer_here(self, effect: Effect[Any]) -> None:
        try:
            self._answer = effect.run()
        except BaseException as error:
            self._error = error

    async def answer(self, effect: Effect[Any]) -> None:
        if self._late is not None and not effect.cleanup:
            self._error, self._late = self._late, None
            return
        try:
            self._answer = await effect.arun()
        except _Finished as finished:
            self._answer, self._error, self._late = finished.value, finished.error, finished.cancellation
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        if self._late is not None:
            raise self._late
        return self._result


class _Finished(BaseException):
    """Blocking work came to its end although the run was cancelled meanwhile."""

    def __init__(self, value: object, error: BaseException | None, cancellation: BaseException) -> None:
        self.value = value
        self.error = error
        self.cancellation = cancellation


async def _to_the_end(work: Callable[[], T]) -> T:
    import asyncio  # heavy, and loaded already wherever a coroutine runs

    job = asyncio.ensure_future(asyncio.to_thread(work))
    cancellation: BaseException | None = None
    while not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError as request:
            cancellation = request
    error = job.exception()
    if cancellation is not None:
        raise _Finished(None if error else job.result(), error, cancellation)
    return job.result()


async def _within(seconds: float, work: Awaitable[T]) -> T:
    import asyncio

    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if limit.expired():
            raise RunTimeoutError(seconds) from None
        raise


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run an async hook to its end from sync code, also when this thread has a running loop."""
    import asyncio
    from threading import Thread

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[Outcome[T]] = []

    def in_thread() -> None:
        try:
            outcome.append(Returned(asyncio.run(work)))
        except BaseException as error:
            outcome.append(Raised(error))

    thread = Thread(target=in_thread, name="flowstone-hook")
    thread.start()
    thread.join()
    if isinstance(outcome[0], Raised):
        raise outcome[0].error
    return outcome[0].value


def _foreign(effect: object) -> TypeError | None:
    if isinstance(effect, Effect):
        return None
    return TypeError(f"The engine awaits effects only; this line awaited {type(effect).__name__}: {effect!r}.")


def _without_our_frames(error: BaseException) -> BaseException:
    """Drop the frame of Invoke itself, so that a user's traceback begins in the user's code."""
    trace = error.__traceback__
    if trace is not None and trace.tb_next is not None:
        error.__traceback__ = trace.tb_next
    return error
