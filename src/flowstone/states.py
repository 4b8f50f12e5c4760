"""States: where a run stands, by type and name.

The names and predicates are those of Prefect 3. A state is cheap: its id and its date are made when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from flowstone._types import NotSet, NotSetType
from flowstone.clock import current_clock
from flowstone.exceptions import CancelledRun, CrashedRun, FailedRun, MissingResult, PausedRun, UnfinishedRun
from flowstone.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


class StateType(str, Enum):  # noqa: UP042 - str() gives the member's full name, as people know it
    """What kind of state it is; the engine decides by this and never by the name."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


TERMINAL_STATES: Final = frozenset(
    {StateType.COMPLETED, StateType.CANCELLED, StateType.FAILED, StateType.CRASHED},
)


class StateDetails:
    """What a state knows beside its name: whose it is, and where its result came from.

    `produced_by` is the id of the task run that made the record a `Cached` state was served from.
    """

    __slots__ = ("cache_expiration", "cache_key", "flow_run_id", "produced_by", "scheduled_time", "task_run_id")

    def __init__(
        self,
        *,
        flow_run_id: str | None = None,
        task_run_id: str | None = None,
        cache_key: str | None = None,
        cache_expiration: float | None = None,
        produced_by: str | None = None,
        scheduled_time: datetime | None = None,
    ) -> None:
        self.flow_run_id = flow_run_id
        self.task_run_id = task_run_id
        self.cache_key = cache_key
        self.cache_expiration = cache_expiration
        self.produced_by = produced_by
        self.scheduled_time = scheduled_time

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name in self.__slots__ if (value := getattr(self, name)) is not None)
        return f"StateDetails({told})"


class State(Generic[R]):
    """One state of one run; immutable by agreement.

    `data` is the value of a completed run, or the exception of one that did not complete. `result()` gives or raises
    it.
    """

    __slots__ = ("_data", "_details", "_id", "_when", "message", "name", "type")

    def __init__(
        self,
        type: StateType,
        name: str | None = None,
        message: str | None = None,
        data: R | BaseException | NotSetType | None = NotSet,
        state_details: StateDetails | None = None,
        timestamp: datetime | float | None = None,
    ) -> None:
        self.type = type
        self.name = name if name is not None else _DEFAULT_NAMES[type]
        self.message = message
        self._data = data
        self._details: Any = state_details
        self._when: datetime | float = current_clock().now() if timestamp is None else timestamp
        self._id: str | None = None

    @property
    def data(self) -> Any:
        return None if self._data is NotSet else self._data

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = new_id()
        return self._id

    @property
    def timestamp(self) -> datetime:
        if isinstance(self._when, float | int):
            return datetime.fromtimestamp(self._when, UTC)
        return self._when

    @property
    def state_details(self) -> StateDetails:
        if self._details is None:
            self._details = StateDetails()
        elif not isinstance(self._details, StateDetails):
            self._details = self._details()  # the engine leaves a recipe; most states are never asked
        return cast("StateDetails", self._details)

    def is_scheduled(self) -> bool:
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        return self.type in TERMINAL_STATES

    def is_cached(self) -> bool:
        """Say whether the result came from a record instead of a run."""
        return self.type is StateType.COMPLETED and self.name == "Cached"

    def is_rolled_back(self) -> bool:
        return self.type is StateType.COMPLETED and self.name == "RolledBack"

    def result(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> R:
        """Return the value of a completed run, or raise what ended it.

        With `raise_on_failure=False` the exception is returned instead. Raises UnfinishedRun before the end of the
        run, and MissingResult where there is no result. `retry_result_failure` is accepted for Prefect's sake.
        """
        if self.type is StateType.COMPLETED:
            return cast("R", self._value())
        error = self._failure()
        if raise_on_failure or not self.is_final():
            raise error
        return cast("R", error)

    async def aresult(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> R:
        """Do as `result` does."""
        return self.result(raise_on_failure, retry_result_failure)

    def _value(self) -> object:
        if self._data is NotSet:
            raise MissingResult(f"{self} has no result: it was made without data, or the result was not kept.")
        load = getattr(self._data, "load_result", None)
        return self._data if load is None else load()

    def _failure(self) -> BaseException:
        if isinstance(self.data, BaseException):
            return self.data
        if self.type is StateType.PAUSED:
            return PausedRun("The run is paused; its result is not available yet.")
        if self.type not in TERMINAL_STATES:
            return UnfinishedRun(f"The run is in state {self.name}; its result is not available yet.")
        if self.data is None or isinstance(self.data, str):
            return _FAILURES[self.type](self.data or self.message or f"The run ended in state {self}.")
        return TypeError(f"The data of a {self.name} state is a {type(self.data).__name__}, not an exception.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return (self.type, self.name, self.message) == (other.type, other.name, other.message) and (
            self.data is other.data or self.data == other.data
        )

    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (
            type(self),
            self.type,
            self.name,
            self.message,
            self.data,
            self.state_details,
            self._when,
            self.id,
        )

    def __str__(self) -> str:
        told = [repr(self.message)] if self.message else []
        if self.name.upper() != self.type.value:
            told.append(f"type={self.type.value}")
        return f"{self.name}({', '.join(told)})"

    def __repr__(self) -> str:
        return f"{self.name}(message={self.message!r}, type={self.type.value}, result={self.data!r})"


def _rebuild(
    cls: type[State[Any]], kind: StateType, name: str, message: str | None, data: object, details: StateDetails,
    when: float, state_id: str,
) -> State[Any]:  # fmt: skip
    state = cls(kind, name, message, data, details, when)
    state._id = state_id
    return state


_DEFAULT_NAMES: Final[Mapping[StateType, str]] = {kind: kind.value.capitalize() for kind in StateType}
_FAILURES: Final[Mapping[StateType, Callable[[str], BaseException]]] = {
    StateType.FAILED: FailedRun,
    StateType.CRASHED: CrashedRun,
    StateType.CANCELLED: CancelledRun,
}


def _constructor(kind: StateType, name: str) -> Callable[..., State[Any]]:
    def construct(
        message: str | None = None,
        data: Any = NotSet,
        *,
        name: str = name,
        state_details: StateDetails | None = None,
        timestamp: datetime | float | None = None,
    ) -> State[Any]:
        return State(kind, name, message, data, state_details, timestamp)

    construct.__name__ = construct.__qualname__ = name
    construct.__doc__ = f"Return a new {name} state (type {kind.value})."
    return construct


Pending = _constructor(StateType.PENDING, "Pending")
NotReady = _constructor(StateType.PENDING, "NotReady")
Running = _constructor(StateType.RUNNING, "Running")
Retrying = _constructor(StateType.RUNNING, "Retrying")
Completed = _constructor(StateType.COMPLETED, "Completed")
Cached = _constructor(StateType.COMPLETED, "Cached")
RolledBack = _constructor(StateType.COMPLETED, "RolledBack")
Failed = _constructor(StateType.FAILED, "Failed")
TimedOut = _constructor(StateType.FAILED, "TimedOut")
Crashed = _constructor(StateType.CRASHED, "Crashed")
Cancelled = _constructor(StateType.CANCELLED, "Cancelled")
Cancelling = _constructor(StateType.CANCELLING, "Cancelling")
Paused = _constructor(StateType.PAUSED, "Paused")
Suspended = _constructor(StateType.PAUSED, "Suspended")


def Scheduled(
    scheduled_time: datetime | None = None, message: str | None = None, *, name: str = "Scheduled"
) -> State[Any]:
    """Return a new Scheduled state for `scheduled_time`, or for now."""
    return State(
        StateType.SCHEDULED, name, message, state_details=StateDetails(scheduled_time=scheduled_time or _now())
    )


def Late(scheduled_time: datetime | None = None, message: str | None = None) -> State[Any]:
    """Return a Scheduled state whose time has passed."""
    return Scheduled(scheduled_time, message, name="Late")


def AwaitingRetry(scheduled_time: datetime | None = None, message: str | None = None) -> State[Any]:
    """Return a Scheduled state that waits for the next attempt."""
    return Scheduled(scheduled_time, message, name="AwaitingRetry")


def awaiting_retry(seconds: float) -> State[Any]:
    """Return an AwaitingRetry state due in `seconds`."""
    return AwaitingRetry(_now() + timedelta(seconds=seconds))


def _now() -> datetime:
    return datetime.fromtimestamp(current_clock().now(), UTC)


def aggregate(states: Iterable[State[Any]]) -> State[Any] | None:
    """Return what a run that returned these states has come to: None if all completed, else a Failed state."""
    states = list(states)
    bad = sum(not state.is_completed() for state in states)
    if not bad:
        return None
    return Failed(f"{bad}/{len(states)} states failed.", data=None)


def exception_to_failed_state(error: BaseException, message: str | None = None) -> State[Any]:
    """Return the Failed state of a run that raised `error`."""
    told = f"{type(error).__name__}: {error}"
    return Failed(f"{message} {told}" if message else told, data=error)


class HandedState(Exception):
    """A state that the user's code returned instead of raising; never leaves the engine."""

    def __init__(self, state: State[Any]) -> None:
        super().__init__(str(state))
        self.state = state
