"""Flows: functions whose calls group task runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, Generic, Never, ParamSpec, TypeVar, cast, overload

from flowstone._types import NotSet, RetryDelay
from flowstone.effects import adrive, drive
from flowstone.engine.bind import Binder
from flowstone.engine.flow_run import FlowCall, run_flow
from flowstone.names import name_of
from flowstone.options import Checks, run_name_of
from flowstone.runs import FlowRun
from flowstone.states import State, StateType
from flowstone.tasks import Task, code_flags

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from flowstone.filesystems.base import Storage
    from flowstone.serializers import Serializer
    from flowstone.signatures import FlowOptions, FlowSignatures
else:
    FlowSignatures = Generic

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
F = TypeVar("F")

_COROUTINE: Final = 0x80 | 0x100
_GENERATOR: Final = 0x20 | 0x200


class Flow(FlowSignatures[P, R]):
    """A function that calls tasks; each call is a flow run with an id, states and parameters of its own.

    Made by `@flow`. May be called from any thread, and from other flows and tasks.
    """

    __flowstone_runnable__: Final = True

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str | None = None,
        version: str | None = None,
        flow_run_name: str | Callable[..., str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: RetryDelay | Callable[[int], Iterable[float]] | None = None,
        task_runner: Any = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool = True,
        persist_result: bool | None = None,
        result_storage: Storage | Path | str | None = None,
        result_serializer: Serializer | str | None = None,
        cache_result_in_memory: bool = True,
        log_prints: bool | None = None,
        on_completion: Iterable[Callable[..., Any]] | None = None,
        on_failure: Iterable[Callable[..., Any]] | None = None,
        on_cancellation: Iterable[Callable[..., Any]] | None = None,
        on_crashed: Iterable[Callable[..., Any]] | None = None,
        on_running: Iterable[Callable[..., Any]] | None = None,
        **unknown: Never,
    ) -> None:
        self._given = {key: value for key, value in locals().items() if key in _OPTIONS}
        self._set_function(fn)
        checks = Checks("Flow", name or self.fn.__name__)
        checks.unknown(unknown, _OPTIONS)
        self.name = name or self.fn.__name__.replace("_", "-")
        self.description = description if description is not None else (self.__doc__ or None)
        self._version = version
        self.tags = checks.tags(tags)
        self.flow_run_name = checks.run_name("flow_run_name", flow_run_name)
        self.retries = checks.retries(retries)
        self.retry_delay_seconds = checks.delay(retry_delay_seconds)
        self.task_runner = task_runner
        self.timeout_seconds = checks.timeout(timeout_seconds)
        self.should_validate_parameters = bool(validate_parameters)
        self.persist_result = checks.flag("persist_result", persist_result)
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.cache_result_in_memory = bool(cache_result_in_memory)
        self.log_prints = checks.flag("log_prints", log_prints)
        self.on_completion_hooks = checks.hooks("on_completion", on_completion)
        self.on_failure_hooks = checks.hooks("on_failure", on_failure)
        self.on_cancellation_hooks = checks.hooks("on_cancellation", on_cancellation)
        self.on_crashed_hooks = checks.hooks("on_crashed", on_crashed)
        self.on_running_hooks = checks.hooks("on_running", on_running)
        self.binder = Binder(self.fn)
        checks.reserved(self.binder.names)
        self._bound_to: Any = NotSet

    def _set_function(self, fn: Any) -> None:
        if isinstance(fn, Flow | Task):
            raise Checks("Flow", fn.name).wrong("fn", fn, "a plain function; it is a run already")
        if not callable(fn) or not hasattr(fn, "__name__"):
            raise Checks("Flow", repr(fn)).wrong("fn", fn, "a function; @flow decorates a function")
        flags = code_flags(fn)
        if flags & _GENERATOR:
            raise Checks("Flow", fn.__name__).wrong("fn", fn, "a function that returns; flows cannot be generators")
        self.fn: Callable[..., Any] = fn
        update_wrapper(cast("Callable[..., Any]", self), fn, updated=())
        self.isasync = bool(flags & _COROUTINE)

    @property
    def version(self) -> str:
        """The version given, or a digest of the file the flow is in."""
        if self._version is None:
            self._version = _file_digest(getattr(getattr(self.fn, "__code__", None), "co_filename", ""))
        return self._version

    @property
    def persists(self) -> bool | None:
        """Whether tasks of this flow record their results, where they do not say so themselves."""
        if self.persist_result is not None:
            return self.persist_result
        return True if self.result_storage is not None or self.result_serializer is not None else None

    @property
    def has_result_options(self) -> bool:
        return self.result_storage is not None or self.result_serializer is not None or not self.cache_result_in_memory

    def name_run(self, run: FlowRun) -> str:
        """Return the name of a run that was given none."""
        return name_of(run.id)

    def named_by(self, parameters: dict[str, Any]) -> str:
        return run_name_of(self.flow_run_name, parameters, f"Flow {self.name!r}")

    def hooks_for(self, state: State[Any]) -> list[Callable[..., Any]]:
        """Return the hooks that are told of a run's last state."""
        return {
            StateType.COMPLETED: self.on_completion_hooks,
            StateType.FAILED: self.on_failure_hooks,
            StateType.CANCELLED: self.on_cancellation_hooks,
            StateType.CRASHED: self.on_crashed_hooks,
        }.get(state.type, [])

    if not TYPE_CHECKING:  # a checker sees the signatures of FlowSignatures

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the flow; returns what the function returns and raises what it raises."""
            return_state = kwargs.pop("return_state", False) if kwargs else False
            wait_for = kwargs.pop("wait_for", None) if kwargs else None
            given: tuple[Any, ...] = args if self._bound_to is NotSet else (self._bound_to, *args)
            core = run_flow(self, given, kwargs, wait_for)
            if self.isasync:
                return _aresult(core, return_state)
            return result_of(drive(core), return_state)

        def with_options(self, **changes: Any) -> Flow[P, R]:
            """Return a copy with other options; an option given as None or empty is cleared.

            Raises ConfigurationError for an option that a flow does not have.
            """
            Checks("Flow", self.name).unknown([name for name in changes if name not in _OPTIONS], _OPTIONS)
            return type(self)(self.fn, **{**self._given, **self._hooks(), **changes})

    def __get__(self, instance: Any, owner: type | None = None) -> Flow[..., Any]:
        """Return the flow bound to an object."""
        if instance is None:
            return self
        bound = self.with_options()
        bound._bound_to = instance
        return bound

    def _hooks(self) -> dict[str, list[Callable[..., Any]]]:
        names = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")
        return {name: list(getattr(self, f"{name}_hooks")) for name in names}

    def on_completion(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(flow, run, state)` called when a run completes."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(flow, run, state)` called when a run fails for good."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_cancellation(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(flow, run, state)` called when a run is cancelled."""
        self.on_cancellation_hooks.append(fn)
        return fn

    def on_crashed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(flow, run, state)` called when a run is ended from outside."""
        self.on_crashed_hooks.append(fn)
        return fn

    def on_running(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(flow, run, state)` called when a run starts."""
        self.on_running_hooks.append(fn)
        return fn

    def __repr__(self) -> str:
        return f"<Flow {self.name!r} of {self.fn.__module__}.{self.fn.__qualname__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        module = sys.modules.get(self.fn.__module__)
        if self.fn.__module__ != "__main__" and getattr(module, self.fn.__qualname__, None) is self:
            return getattr, (module, self.fn.__qualname__)
        return _rebuild, (type(self), self.fn, {**self._given, **self._hooks()})


_OPTIONS: Final = frozenset(
    Flow.__init__.__code__.co_varnames[2 : 2 + Flow.__init__.__code__.co_kwonlyargcount],
)


def _rebuild(cls: type[Flow[..., Any]], fn: Any, given: dict[str, Any]) -> Flow[..., Any]:
    return cls(fn, **given)


def result_of(call: FlowCall, return_state: bool) -> Any:
    """Return the result of a flow call that has ended, or raise what ended it."""
    state = call.run.state
    if return_state:
        return state
    if state.type is StateType.COMPLETED:
        return state.data if isinstance(call.value, State) else call.value
    raise cast("BaseException", state.result(raise_on_failure=False))


async def _aresult(core: Coroutine[Any, Any, FlowCall], return_state: bool) -> Any:
    return result_of(await adrive(core), return_state)


def _file_digest(path: str) -> str:
    from blake3 import blake3

    try:
        with open(path, "rb") as file:
            return blake3(file.read()).hexdigest()[:32]
    except OSError:
        return ""


@overload
def flow(__fn: Callable[P, F], /) -> Flow[P, F]: ...
@overload
def flow(**options: Unpack[FlowOptions]) -> Callable[[Callable[P, F]], Flow[P, F]]: ...
def flow(__fn: Any = None, /, **options: Any) -> Any:
    """Make a flow of a function; use it bare or with the options of `Flow`.

    Raises ConfigurationError at once for an option that cannot work.
    """
    if __fn is None:
        return lambda fn: Flow(fn, **options)
    return Flow(__fn, **options)
