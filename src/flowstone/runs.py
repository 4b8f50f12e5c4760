"""Runs: one invocation of a task or a flow, with its id, its states and its links."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flowstone.clock import current_clock
from flowstone.ids import new_id
from flowstone.states import Pending, State


class Run:
    """What task runs and flow runs have in common.

    Changed only by the engine, on the thread that runs it. Ids, names and dates are made when somebody asks.
    """

    __slots__ = (
        "_entered",
        "_id",
        "_name",
        "_name_recipe",
        "_pending",
        "created",
        "ended",
        "run_count",
        "started",
        "tags",
    )

    def __init__(self, tags: frozenset[str], name: str | Any) -> None:
        self._id: str | None = None
        self._name: str | None = name if isinstance(name, str) else None
        self._name_recipe: Any = name
        self.tags = tags
        self.run_count = 0
        self.started: float | None = None
        self.ended: float | None = None
        self.created = current_clock().now()
        self._pending: State[Any] | None = None
        self._entered: list[State[Any]] = []

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = new_id()
        return self._id

    @property
    def name(self) -> str:
        if self._name is None:
            self._name = str(self._name_recipe(self))
        return self._name

    def rename(self, name: str) -> None:
        self._name = name

    def enter(self, state: State[Any]) -> State[Any]:
        """Note that the run is in this state now."""
        self._entered.append(state)
        return state

    @property
    def state(self) -> State[Any]:
        """The state the run is in now."""
        return self._entered[-1] if self._entered else self._first()

    @property
    def states(self) -> list[State[Any]]:
        """Every state the run has been in, from Pending on."""
        return [self._first(), *self._entered]

    def take_over(self, other: Run) -> None:
        """Go on from where `other` is, the same run in another process."""
        self._id, self._name, self.tags = other.id, other.name, other.tags
        self.run_count, self.started, self.ended = other.run_count, other.started, other.ended
        self._entered = list(other._entered)

    def __getstate__(self) -> dict[str, Any]:
        slots = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        return {**{name: getattr(self, name) for name in slots}, "_id": self.id, "_name": self.name, "_name_recipe": ""}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _first(self) -> State[Any]:
        if self._pending is None:
            self._pending = Pending(timestamp=self.created)
        return self._pending

    @property
    def start_time(self) -> datetime | None:
        return None if self.started is None else datetime.fromtimestamp(self.started, UTC)

    @property
    def end_time(self) -> datetime | None:
        return None if self.ended is None else datetime.fromtimestamp(self.ended, UTC)

    @property
    def total_run_time(self) -> float:
        """Return seconds from the first start to the end; 0 before the end."""
        return 0.0 if self.started is None or self.ended is None else self.ended - self.started

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, name={self.name!r}, state={self.state})"


class TaskRun(Run):
    """One call of a task."""

    __slots__ = ("flow_run_id", "parent_task_run_id", "task_key", "task_name")

    def __init__(
        self,
        task_name: str,
        task_key: str,
        flow_run_id: str | None,
        parent_task_run_id: str | None,
        tags: frozenset[str],
        name: str | Any,
    ) -> None:
        # what Run.__init__ does, without the call: one is made for every call of a task
        self._id = None
        self._name = name if isinstance(name, str) else None
        self._name_recipe = name
        self.tags = tags
        self.run_count = 0
        self.started = None
        self.ended = None
        self.created = current_clock().now()
        self._pending = None
        self._entered = []
        self.task_name = task_name
        self.task_key = task_key
        self.flow_run_id = flow_run_id
        self.parent_task_run_id = parent_task_run_id


class FlowRun(Run):
    """One call of a flow."""

    __slots__ = (
        "flow_name",
        "flow_version",
        "parameters",
        "parent_flow_run_id",
        "parent_task_run_id",
        "root_flow_run_id",
    )

    def __init__(
        self,
        flow_name: str,
        flow_version: str | None,
        parameters: dict[str, Any],
        parent: FlowRun | None,
        parent_task_run_id: str | None,
        tags: frozenset[str],
        name: str | Any,
    ) -> None:
        super().__init__(tags, name)
        self.flow_name = flow_name
        self.flow_version = flow_version
        self.parameters = parameters
        self.parent_flow_run_id = parent.id if parent else None
        self.root_flow_run_id: str = parent.root_flow_run_id if parent else self.id
        self.parent_task_run_id = parent_task_run_id
