"""flowstone remembers what functions computed, knows when that is still true, and can tell why."""

from __future__ import annotations

from flowstone._version import VERSION as __version__

TYPE_CHECKING = False  # what type checkers take for true; importing typing costs as much as starting Python does
if TYPE_CHECKING:
    from typing import Any

    from flowstone.annotations import allow_failure, opaque, quote, unmapped
    from flowstone.context import tags
    from flowstone.files import Dir, File
    from flowstone.flows import Flow, flow
    from flowstone.logging import get_run_logger
    from flowstone.states import State
    from flowstone.tasks import Task, task
    from flowstone.transactions import atransaction, get_transaction, transaction

__all__ = [
    "Dir",
    "File",
    "Flow",
    "State",
    "Task",
    "__version__",
    "allow_failure",
    "atransaction",
    "flow",
    "get_run_logger",
    "get_transaction",
    "opaque",
    "quote",
    "tags",
    "task",
    "transaction",
    "unmapped",
]

_HOMES = {
    "annotations": ("allow_failure", "opaque", "quote", "unmapped"),
    "context": ("tags",),
    "files": ("Dir", "File"),
    "flows": ("Flow", "flow"),
    "logging": ("get_run_logger",),
    "states": ("State",),
    "tasks": ("Task", "task"),
    "transactions": ("atransaction", "get_transaction", "transaction"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = frozenset(
    {
        "cache_policies",
        "context",
        "exceptions",
        "filesystems",
        "futures",
        "hashing",
        "logging",
        "results",
        "runtime",
        "serializers",
        "settings",
        "states",
        "task_runners",
        "testing",
        "transactions",
    }
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a program pays for the parts it uses."""
    from importlib import import_module

    if name in _HOME_OF:
        value = globals()[name] = getattr(import_module(f"flowstone.{_HOME_OF[name]}"), name)
        return value
    if name in _MODULES:
        return import_module(f"flowstone.{name}")
    raise AttributeError(f"module 'flowstone' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
