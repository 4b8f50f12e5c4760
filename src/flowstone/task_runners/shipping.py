"""Pickling what goes to another process: by name where that process can import it, else by value."""

from __future__ import annotations

import io
import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from threading import Lock
from types import FunctionType, ModuleType
from typing import Any, Final

import cloudpickle  # type: ignore[import-untyped]

from flowstone.futures import FlowstoneFuture
from flowstone.runs import FlowRun, TaskRun
from flowstone.states import State, StateDetails, StateType
from flowstone.tasks import Task

_GATE: Final = Lock()
_PLAIN: Final = frozenset({State, StateDetails, StateType, TaskRun, FlowRun})
"""What goes with every run: asking cloudpickle about each would double the cost."""


class _Shipper(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, which also sends by value what lives in modules that were loaded from outside the import path."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 5)
        self.by_value: list[ModuleType] = []

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in _PLAIN:
            return NotImplemented
        if isinstance(obj, type | FunctionType):
            if _is_everywhere(obj):
                return NotImplemented
            self._send_unimportable_by_value(obj.__module__)
        elif isinstance(obj, Task):
            return _task_by_value(obj) if self._send_unimportable_by_value(obj.fn_module) else NotImplemented
        elif isinstance(obj, FlowstoneFuture):
            return _ended_future, _of_ended(obj)
        return super().reducer_override(obj)

    def _send_unimportable_by_value(self, name: str | None) -> bool:
        module = sys.modules.get(name or "")
        if module is None or name in ("__main__", "builtins"):
            return name == "__main__"
        if module in self.by_value:
            return True
        if importable(module.__name__, getattr(module, "__file__", None)):
            return False
        cloudpickle.register_pickle_by_value(module)
        self.by_value.append(module)
        return True


def _is_everywhere(thing: Any) -> bool:
    return (thing.__module__ or "").startswith("flowstone.") and "<locals>" not in thing.__qualname__


def dumps(value: object) -> bytes:
    """Pickle `value` for another process; raises whatever pickling raises."""
    file = io.BytesIO()
    with _GATE:  # cloudpickle keeps one list of modules for all threads
        shipper = _Shipper(file)
        try:
            shipper.dump(value)
        finally:
            for module in shipper.by_value:
                cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


@lru_cache(maxsize=4096)
def importable(name: str, file: str | None) -> bool:
    """Say whether `import name` in a process with our import path loads that very file."""
    if file is None or name.partition(".")[0] in sys.stdlib_module_names:
        return True
    path: Any = None
    spec = None
    so_far = ""
    for part in name.split("."):
        so_far = f"{so_far}.{part}" if so_far else part
        spec = PathFinder.find_spec(so_far, path)
        if spec is None:
            return _installed_specially(name)
        path = spec.submodule_search_locations
    return spec is not None and spec.origin == file


def _installed_specially(name: str) -> bool:
    """Editable installs find modules by finders of their own; those of a test runner are known by their loader."""
    return any(
        finder.find_spec(name, None) is not None
        for finder in sys.meta_path
        if "editable" in getattr(finder, "__module__", type(finder).__module__).lower() and hasattr(finder, "find_spec")
    )


def _task_by_value(task: Task[..., Any]) -> Any:
    return task.by_value()


def _of_ended(future: FlowstoneFuture[Any]) -> tuple[TaskRun, State[Any]]:
    if not future.done():
        raise TypeError(f"the run {future.run.name!r} has not ended, and only this process can wait for it")
    return future.run, future.state


def _ended_future(run: TaskRun, state: State[Any]) -> FlowstoneFuture[Any]:
    future: FlowstoneFuture[Any] = FlowstoneFuture(run)
    future.finish(state)
    return future
