"""What a type checker sees of tasks and flows: how a call, a submit and a map keep the signature of the function.

Never imported at run time. A `return_state` or `wait_for` among the arguments of a call gives up the check of the
others: there is no type for "these parameters and one more".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

from flowstone._types import NotSetType, RetryDelay
from flowstone.cache_policies import CachePolicy
from flowstone.filesystems.base import Storage
from flowstone.futures import FlowstoneFuture, FlowstoneFutureList
from flowstone.serializers import Serializer
from flowstone.states import State
from flowstone.tasks import Task

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

Hooks: TypeAlias = "Iterable[Callable[..., Any]] | None"
Delay: TypeAlias = "RetryDelay | Callable[[int], Iterable[float]] | None"


class TaskOptions(TypedDict, total=False):
    """The options of `@task` and `Task.with_options`."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    cache_policy: CachePolicy | NotSetType | None
    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None
    cache_expiration: timedelta | None
    refresh_cache: bool | None
    task_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: Delay
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[..., Any] | None
    persist_result: bool | None
    result_storage: Storage | Path | str | None
    result_storage_key: str | None
    result_serializer: Serializer | str | None
    cache_result_in_memory: bool
    timeout_seconds: float | None
    log_prints: bool | None
    on_completion: Hooks
    on_failure: Hooks
    on_running: Hooks
    on_commit: Hooks
    on_rollback: Hooks
    viz_return_value: Any


class FlowOptions(TypedDict, total=False):
    """The options of `@flow` and `Flow.with_options`."""

    name: str | None
    version: str | None
    flow_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: Delay
    task_runner: Any
    description: str | None
    tags: Iterable[str] | None
    timeout_seconds: float | None
    validate_parameters: bool
    persist_result: bool | None
    result_storage: Storage | Path | str | None
    result_serializer: Serializer | str | None
    cache_result_in_memory: bool
    log_prints: bool | None
    on_completion: Hooks
    on_failure: Hooks
    on_cancellation: Hooks
    on_crashed: Hooks
    on_running: Hooks


class Called(Generic[P, R_co]):
    """Calls, of tasks and flows alike."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(
        self: Called[P, Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...
    @overload
    def __call__(
        self, *args: Any, return_state: Literal[True], wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def __call__(
        self, *args: Any, wait_for: Iterable[Any] | None, return_state: Literal[False] = False, **kwargs: Any
    ) -> R_co: ...
    @overload
    def __call__(self, *args: Any, return_state: Literal[False], **kwargs: Any) -> R_co: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class TaskSignatures(Called[P, R_co]):
    """What tasks have beside calls. A generator that is submitted gives the list of its items."""

    @overload
    def submit(
        self: TaskSignatures[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> FlowstoneFuture[T]: ...
    @overload
    def submit(
        self: TaskSignatures[P, Iterator[T] | AsyncIterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> FlowstoneFuture[list[T]]: ...
    @overload
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> FlowstoneFuture[R_co]: ...
    @overload
    def submit(
        self: TaskSignatures[P, Coroutine[Any, Any, T]], *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any
    ) -> FlowstoneFuture[T]: ...
    @overload
    def submit(
        self: TaskSignatures[P, Iterator[T] | AsyncIterator[T]],
        *args: Any,
        wait_for: Iterable[Any] | None,
        **kwargs: Any,
    ) -> FlowstoneFuture[list[T]]: ...
    @overload
    def submit(self, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any) -> FlowstoneFuture[R_co]: ...
    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Start a run on the task runner that prevails, and return its future at once."""
        raise NotImplementedError

    @overload
    def map(
        self: TaskSignatures[P, Coroutine[Any, Any, T]],
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> FlowstoneFutureList[T]: ...
    @overload
    def map(
        self: TaskSignatures[P, Iterator[T] | AsyncIterator[T]],
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> FlowstoneFutureList[list[T]]: ...
    @overload
    def map(self, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> FlowstoneFutureList[R_co]: ...
    def map(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a run for each item of the iterables given, and return the futures in their order."""
        raise NotImplementedError

    def with_options(self, **changes: Unpack[TaskOptions]) -> Self:
        """Return a copy with other options; an option given as None or empty is cleared."""
        raise NotImplementedError

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: TaskSignatures[Concatenate[Any, Q], T], instance: object, owner: type | None = None
    ) -> Task[Q, T]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Return the task bound to an object."""
        raise NotImplementedError


class FlowSignatures(Called[P, R_co]):
    """What flows have beside calls."""

    def with_options(self, **changes: Unpack[FlowOptions]) -> Self:
        """Return a copy with other options; an option given as None or empty is cleared."""
        raise NotImplementedError
