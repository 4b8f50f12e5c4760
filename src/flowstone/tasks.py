"""Tasks: functions whose results are remembered."""

from __future__ import annotations

import sys
from binascii import crc32
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from datetime import timedelta
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, Generic, Never, ParamSpec, TypeVar, cast, overload

from flowstone._types import NotSet, NotSetType, RetryDelay
from flowstone.annotations import unmapped
from flowstone.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE, CacheKeyFnPolicy, CachePolicy, Inputs
from flowstone.cache_policies.storage_key import StorageKeyPolicy
from flowstone.context import current_scope
from flowstone.effects import adrive, adrive_generator, drive, drive_generator
from flowstone.engine.bind import Binder
from flowstone.engine.generator_run import run_generator_task
from flowstone.engine.options import CallOptions, warn_of_contradiction
from flowstone.engine.task_run import TaskCall, run_task
from flowstone.fingerprints import Fingerprint, code_fingerprint, source_fingerprint
from flowstone.futures import FlowstoneFuture, FlowstoneFutureList
from flowstone.options import Checks, run_name_of
from flowstone.records import author_of
from flowstone.runs import TaskRun
from flowstone.states import State, StateType
from flowstone.task_runners.ambient import prevailing_runner
from flowstone.task_runners.mapping import calls_of
from flowstone.warn import warn_once

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from flowstone.filesystems.base import Storage
    from flowstone.fingerprints import Boundary
    from flowstone.serializers import Serializer
    from flowstone.signatures import TaskOptions, TaskSignatures
else:
    TaskSignatures = Generic

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
F = TypeVar("F")

_COROUTINE: Final = 0x80 | 0x100
_GENERATOR: Final = 0x20
_ASYNC_GENERATOR: Final = 0x200


class Task(TaskSignatures[P, R]):
    """A function whose calls are runs: with states, retries, and results that are remembered.

    Made by `@task`. Calling it runs the function, or returns what is known; `with_options` gives a changed copy. A task
    may be called from any thread.
    """

    __flowstone_runnable__: Final = True

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_policy: CachePolicy | NotSetType | None = NotSet,
        cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None = None,
        cache_expiration: timedelta | None = None,
        refresh_cache: bool | None = None,
        task_run_name: str | Callable[..., str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: RetryDelay | Callable[[int], Iterable[float]] | None = None,
        retry_jitter_factor: float | None = None,
        retry_condition_fn: Callable[..., Any] | None = None,
        persist_result: bool | None = None,
        result_storage: Storage | Path | str | None = None,
        result_storage_key: str | None = None,
        result_serializer: Serializer | str | None = None,
        cache_result_in_memory: bool = True,
        timeout_seconds: float | None = None,
        log_prints: bool | None = None,
        on_completion: Iterable[Callable[..., Any]] | None = None,
        on_failure: Iterable[Callable[..., Any]] | None = None,
        on_running: Iterable[Callable[..., Any]] | None = None,
        on_commit: Iterable[Callable[..., Any]] | None = None,
        on_rollback: Iterable[Callable[..., Any]] | None = None,
        viz_return_value: Any = None,
        **unknown: Never,
    ) -> None:
        self._given = {key: value for key, value in locals().items() if key in _OPTIONS}
        self._set_function(fn)
        checks = Checks("Task", name or self._fn_name)
        checks.unknown(unknown, _OPTIONS)
        self.name = name or self._fn_name
        self.description = description if description is not None else (self.__doc__ or None)
        self.version = version
        self.tags = checks.tags(tags)
        self.author = author_of(self.name, self.fn_module)
        self.task_key = f"{self._fn_qualname}-{_code_sum(self.fn)}"
        self._bound_to: Any = NotSet
        self._binder: Binder | None = None
        self.known_options: CallOptions | None = None
        self._set_caching(checks, cache_policy, cache_key_fn, cache_expiration, refresh_cache, result_storage_key)
        self.retries = checks.retries(retries)
        self.retry_delay_seconds = checks.delay(retry_delay_seconds)
        self.retry_jitter_factor = checks.jitter(retry_jitter_factor)
        self.retry_condition_fn = checks.function("retry_condition_fn", retry_condition_fn)
        self.persist_result = checks.flag("persist_result", persist_result)
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.cache_result_in_memory = bool(cache_result_in_memory)
        self.timeout_seconds = checks.timeout(timeout_seconds)
        self.log_prints = checks.flag("log_prints", log_prints)
        self.task_run_name = checks.run_name("task_run_name", task_run_name)
        self.viz_return_value = viz_return_value
        self.on_completion_hooks = checks.hooks("on_completion", on_completion)
        self.on_failure_hooks = checks.hooks("on_failure", on_failure)
        self.on_running_hooks = checks.hooks("on_running", on_running)
        self.on_commit_hooks = checks.hooks("on_commit", on_commit)
        self.on_rollback_hooks = checks.hooks("on_rollback", on_rollback)
        self._settle_persistence()
        checks.reserved(self.binder.names)
        self._warn_of_misspelt_exclusions()

    def _set_function(self, fn: Any) -> None:
        self._binding: type | None = type(fn) if isinstance(fn, staticmethod | classmethod) else None
        function = fn.__func__ if self._binding else fn
        if isinstance(function, Task):
            raise Checks("Task", function.name).wrong("fn", function, "a plain function; it is a task already")
        if not callable(function):
            raise Checks("Task", repr(function)).wrong("fn", function, "a function; @task decorates something callable")
        self.fn: Callable[..., Any] = function
        update_wrapper(cast("Callable[..., Any]", self), function, updated=())
        described = function if hasattr(function, "__qualname__") else type(function)
        self._fn_name: str = getattr(function, "__name__", type(function).__name__)
        self._fn_qualname: str = described.__qualname__
        self.fn_module: str = getattr(function, "__module__", None) or "__main__"
        flags = code_flags(function)
        self.isasync = bool(flags & (_COROUTINE | _ASYNC_GENERATOR))
        self.isgenerator = bool(flags & (_GENERATOR | _ASYNC_GENERATOR))

    def _set_caching(
        self, checks: Checks, policy: Any, key_fn: Any, expiration: Any, refresh: Any, storage_key: str | None
    ) -> None:
        checks.policy(policy)
        checks.key_function(key_fn)
        if key_fn is not None and policy is not NotSet:
            warn_once(
                ("both", self.task_key),
                f"Task {self.name!r} has both cache_policy and cache_key_fn; cache_key_fn is used.",
            )
        self.cache_key_fn = key_fn
        self.cache_expiration: timedelta | None = expiration
        self.expiration_seconds = checks.expiration(expiration)
        self.refresh_cache = checks.flag("refresh_cache", refresh)
        self.result_storage_key = storage_key
        self.key_policy: CachePolicy | NotSetType | None = policy
        if storage_key is not None:
            self.key_policy = StorageKeyPolicy(storage_key)
        elif key_fn is not None:
            self.key_policy = CacheKeyFnPolicy(key_fn)

    def _settle_persistence(self) -> None:
        chosen = isinstance(self.key_policy, CachePolicy) and bool(self.key_policy.ingredients)
        self.has_result_options = (
            self.result_storage is not None or self.result_serializer is not None or not self.cache_result_in_memory
        )
        self.implies_persistence = chosen or self.result_storage is not None or self.result_serializer is not None
        self.cache_policy: CachePolicy | None
        if self.persist_result is False:
            self.cache_policy = None if self.key_policy is None else NO_CACHE
            warn_of_contradiction(self)
        elif self.result_storage_key is not None:
            self.cache_policy = None
        else:
            self.cache_policy = DEFAULT if self.key_policy is NotSet else self.key_policy

    def _warn_of_misspelt_exclusions(self) -> None:
        policy = self.key_policy
        for ingredient in policy.ingredients if isinstance(policy, CachePolicy) else ():
            for wrong, meant in (
                ingredient.misspelt(self.binder.names).items() if isinstance(ingredient, Inputs) else ()
            ):
                warn_once(
                    ("misspelt", self.task_key, wrong),
                    f"Task {self.name!r}: its cache policy leaves out {wrong!r}, which is no parameter; "
                    f"did you mean {meant!r}?",
                )

    @property
    def binder(self) -> Binder:
        if self._binder is None:
            self._binder = Binder(self.fn)
        return self._binder

    @property
    def keyword_parameter(self) -> str | None:
        return self.binder.var_keyword

    @property
    def ismethod(self) -> bool:
        return self._bound_to is not NotSet

    @property
    def isclassmethod(self) -> bool:
        return self._binding is classmethod

    @property
    def isstaticmethod(self) -> bool:
        return self._binding is staticmethod

    @property
    def source_code(self) -> str | None:
        """The text of the function as it was written, or None where there is none."""
        from inspect import getsource  # heavy, and asked for by people only

        try:
            return getsource(self.fn)
        except (OSError, TypeError):
            return None

    def source_fingerprint(self) -> Fingerprint:
        """Return what TASK_SOURCE counts of this task."""
        return source_fingerprint(self.fn)

    def code_fingerprint(self, boundary: Boundary | None = None) -> Fingerprint:
        """Return what CODE counts of this task."""
        return code_fingerprint(self.fn) if boundary is None else code_fingerprint(self.fn, boundary)

    def fingerprint(self) -> Fingerprint:
        """Return the task's code and all of the user's own that it reaches; print it to see what was followed."""
        return self.code_fingerprint()

    def name_run(self, run: TaskRun) -> str:
        """Return the name of a run that was given none."""
        return self.name if run.flow_run_id is None else f"{self.name}-{run.id[-3:]}"

    def named_by(self, parameters: dict[str, Any]) -> str:
        return run_name_of(self.task_run_name, parameters, f"Task {self.name!r}")

    if not TYPE_CHECKING:  # a checker sees the signatures of TaskSignatures

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the function, or return what is known of this call; raises what the function raises."""
            return_state = kwargs.pop("return_state", False) if kwargs else False
            wait_for = kwargs.pop("wait_for", None) if kwargs else None
            given = self._all(args)
            if self.isgenerator:
                return self._stream(given, kwargs, wait_for, return_state)
            core = run_task(self, given, kwargs, wait_for)
            if self.isasync:
                return _aresult(core, return_state)
            return result_of(drive(core), return_state)

        def submit(self, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> FlowstoneFuture[Any]:
            """Start a run on the task runner that prevails, and return its future at once.

            Futures among the arguments, and in `wait_for`, are waited for without holding a worker.
            """
            future = prevailing_runner().submit(self, self._all(args), kwargs, wait_for)
            _belongs(future)
            return future

        def map(self, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> FlowstoneFutureList[Any]:
            """Submit a run for each item of the iterables given, and return the futures in their order.

            Text, bytes and what is `unmapped` go whole to every run. Raises MappingLengthMismatch and
            MappingMissingIterable.
            """
            runner = prevailing_runner()
            futures: FlowstoneFutureList[Any] = FlowstoneFutureList()
            waited = None if wait_for is None else list(wait_for)
            for row, keywords in calls_of(self.name, self.binder, self._all(args, unmapped), kwargs):
                future = runner.submit(self, row, keywords, waited)
                _belongs(future)
                futures.append(future)
            return futures

        def __get__(self, instance: Any, owner: type | None = None) -> Task[..., Any]:
            """Return the task bound to an object: a task of its own, which shares nothing that a call could change."""
            if self._binding is staticmethod or (instance is None and self._binding is None):
                return self
            bound = object.__new__(type(self))
            vars(bound).update(vars(self))
            bound._bound_to = owner if self._binding is classmethod else instance
            return bound

        def with_options(self, **changes: Any) -> Task[P, R]:
            """Return a copy with other options; an option given as None or empty is cleared.

            Raises ConfigurationError for an option that a task does not have.
            """
            Checks("Task", self.name).unknown([name for name in changes if name not in _OPTIONS], _OPTIONS)
            fn: Any = self.fn if self._binding is None else self._binding(self.fn)
            given = {**self._given, **self._hooks(), **changes}
            changed = type(self)(fn, **given)
            changed._bound_to = self._bound_to
            return changed

    def _all(self, args: tuple[Any, ...], mark: Callable[[Any], Any] | None = None) -> tuple[Any, ...]:
        """Return the arguments with the object the task is bound to before them."""
        if self._bound_to is NotSet:
            return args
        return (self._bound_to if mark is None else mark(self._bound_to), *args)

    def _stream(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any, return_state: bool
    ) -> Generator[Any, Any, Any] | AsyncGenerator[Any, Any]:
        if return_state:
            raise ValueError(f"Task {self.name!r} is a generator: it gives items, not one state; drop return_state.")
        core = run_generator_task(self, args, kwargs, wait_for)
        return adrive_generator(core) if self.isasync else drive_generator(core)

    def _hooks(self) -> dict[str, list[Callable[..., Any]]]:
        names = ("on_completion", "on_failure", "on_running", "on_commit", "on_rollback")
        return {name: list(getattr(self, f"{name}_hooks")) for name in names}

    def on_completion(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(task, run, state)` called when a run completes or is served from the cache."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(task, run, state)` called when a run fails for good."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_running(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(task, run, state)` called when the function is about to run."""
        self.on_running_hooks.append(fn)
        return fn

    def on_commit(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(transaction)` called before the result of a run is recorded."""
        self.on_commit_hooks.append(fn)
        return fn

    def on_rollback(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Have `fn(transaction)` called when a run is undone."""
        self.on_rollback_hooks.append(fn)
        return fn

    def __repr__(self) -> str:
        return f"<Task {self.name!r} of {self.fn_module}.{self._fn_qualname}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._bound_to is NotSet and _importable(self):
            return _import, (self.fn_module, self._fn_qualname)
        return self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """Return how to make this task anew where its module cannot be imported, for pickle.

        It is empty at first: its function, which has to be whole before the task is made of it, may speak of the task.
        """
        fn: Any = self.fn if self._binding is None else self._binding(self.fn)
        state = fn, {**self._given, **self._hooks()}, self._bound_to
        return object.__new__, (type(self),), state, None, None, _fill


_OPTIONS: Final = frozenset(
    Task.__init__.__code__.co_varnames[2 : 2 + Task.__init__.__code__.co_kwonlyargcount],
)


def _belongs(future: FlowstoneFuture[Any]) -> None:
    """A run that was submitted belongs to the flow run and the transaction around, which wait for it at their end."""
    scope = current_scope()
    if scope.flow is not None:
        scope.flow.children.add()
        future.add_done_callback(scope.flow.children.done)
    if scope.transaction is not None:
        scope.transaction.await_at_end(future)


def result_of(call: TaskCall, return_state: bool) -> Any:
    """Return the result of a call that has ended, or raise what ended it."""
    state = call.run.state
    if return_state:
        return state
    if state.type is StateType.COMPLETED:
        return call.value
    error: Any = state.data
    raise error if isinstance(error, BaseException) else _failure(state)


def _failure(state: State[Any]) -> BaseException:
    return cast("BaseException", state.result(raise_on_failure=False))


async def _aresult(core: Coroutine[Any, Any, TaskCall], return_state: bool) -> Any:
    return result_of(await adrive(core), return_state)


def code_flags(fn: Any) -> int:
    while hasattr(fn, "func"):  # functools.partial
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None) or getattr(type(fn).__call__, "__code__", None)
    return code.co_flags if code is not None else 0


def _code_sum(fn: Any) -> str:
    code = getattr(fn, "__code__", None)
    return f"{crc32(code.co_code):08x}" if code is not None else "00000000"


def _importable(task: Task[..., Any]) -> bool:
    found: Any = sys.modules.get(task.fn_module)
    for name in task._fn_qualname.split("."):
        found = getattr(found, name, None)
    return found is task and task.fn_module != "__main__"


def _import(module: str, qualname: str) -> Any:
    __import__(module)
    found: Any = sys.modules[module]
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _fill(task: Task[..., Any], state: tuple[Any, dict[str, Any], Any]) -> None:
    fn, given, bound_to = state
    Task.__init__(task, fn, **given)
    task._bound_to = bound_to


def task_input_hash(context: Any, arguments: dict[str, Any]) -> str | None:
    """Return a key of the task's source and its arguments; for use as a `cache_key_fn`."""
    return (INPUTS + TASK_SOURCE).compute_key(context, arguments, {})


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Return a function for `retry_delay_seconds`: the factor, doubled before each further retry."""

    def delays(retries: int) -> list[float]:
        return [backoff_factor * max(0, 2**attempt) for attempt in range(retries)]

    return delays


@overload
def task(__fn: Callable[P, F], /) -> Task[P, F]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, F]], Task[P, F]]: ...
def task(__fn: Any = None, /, **options: Any) -> Any:
    """Make a task of a function; use it bare or with the options of `Task`.

    Raises ConfigurationError at once for an option that cannot work.
    """
    if __fn is None:
        return lambda fn: Task(fn, **options)
    return Task(__fn, **options)
