"""flowstone remembers what functions computed, knows when that is still true, and can tell why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstone.annotations import allow_failure, opaque, quote, unmapped
from flowstone.context import tags
from flowstone.flows import Flow, flow
from flowstone.logging import get_run_logger
from flowstone.states import State
from flowstone.tasks import Task, task
from flowstone.transactions import atransaction, get_transaction, transaction

if TYPE_CHECKING:
    from flowstone.files import Dir, File

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

__version__ = "0.1.0"

_ON_DEMAND = {"File": "flowstone.files", "Dir": "flowstone.files"}
_MODULES = {"runtime", "states", "settings", "testing", "cache_policies", "hashing", "serializers", "exceptions"}


def __getattr__(name: str) -> Any:
    """Import what few programs use when it is first asked for."""
    from importlib import import_module

    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    if name in _MODULES:
        return import_module(f"flowstone.{name}")
    raise AttributeError(f"module 'flowstone' has no attribute {name!r}")
