"""What is known of the run around the caller, as plain attributes: `flowstone.runtime.task_run.id` and the like.

Outside of runs every attribute is empty. For tests an attribute can be set by an environment variable, such as
`FLOWSTONE__RUNTIME__FLOW_RUN__NAME`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from flowstone.context import FlowRunContext, TaskRunContext, current_scope

Getter = Callable[[Any], Any]

_TASK_RUN: Final[Mapping[str, tuple[Getter, Any]]] = {
    "id": (lambda c: c.task_run.id, None),
    "name": (lambda c: c.task_run.name, None),
    "tags": (lambda c: sorted(c.task_run.tags), []),
    "parameters": (lambda c: dict(c.parameters), {}),
    "run_count": (lambda c: c.task_run.run_count, 0),
    "task_name": (lambda c: c.task.name, None),
    "flow_run_id": (lambda c: c.flow_run_id, None),
}
_FLOW_RUN: Final[Mapping[str, tuple[Getter, Any]]] = {
    "id": (lambda c: c.flow_run.id, None),
    "name": (lambda c: c.flow_run.name, None),
    "tags": (lambda c: sorted(c.flow_run.tags), []),
    "parameters": (lambda c: dict(c.flow_run.parameters), {}),
    "run_count": (lambda c: c.flow_run.run_count, 0),
    "flow_name": (lambda c: c.flow_run.flow_name, None),
    "flow_version": (lambda c: c.flow_run.flow_version, None),
    "parent_flow_run_id": (lambda c: c.flow_run.parent_flow_run_id, None),
    "root_flow_run_id": (lambda c: c.flow_run.root_flow_run_id, None),
    "scheduled_start_time": (lambda c: c.start_time, None),
}


class _Runtime:
    """One kind of run, looked up anew at each access."""

    def __init__(self, kind: str, fields: Mapping[str, tuple[Getter, Any]], find: Callable[[], Any]) -> None:
        self._kind = kind
        self._fields = fields
        self._find = find

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(f"flowstone.runtime.{self._kind} has no attribute {name!r}; it has {dir(self)}.")
        mocked = os.environ.get(f"FLOWSTONE__RUNTIME__{self._kind.upper()}__{name.upper()}")
        if mocked is not None:
            return mocked
        get, empty = self._fields[name]
        context = self._find()
        return type(empty)() if context is None and empty is not None else None if context is None else get(context)

    def __dir__(self) -> list[str]:
        return sorted(self._fields)


def _task_context() -> TaskRunContext | None:
    return current_scope().task


def _flow_context() -> FlowRunContext | None:
    return current_scope().flow


task_run: Final = _Runtime("task_run", _TASK_RUN, _task_context)
flow_run: Final = _Runtime("flow_run", _FLOW_RUN, _flow_context)
