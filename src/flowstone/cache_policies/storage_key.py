"""Keys from a template: `result_storage_key="report-{parameters[day]}"`."""

from __future__ import annotations

from typing import Any

from flowstone.cache_policies.base import CachePolicy
from flowstone.exceptions import ConfigurationError


class StorageKeyPolicy(CachePolicy):
    """A format string over `flow_run`, `task_run` and `parameters`; what it gives is the key itself."""

    def __init__(self, template: str) -> None:
        if not isinstance(template, str) or not template:
            raise ConfigurationError(f"result_storage_key={template!r} will not do; give a format string.")
        self.template = template

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        flow = getattr(task_ctx, "flow_run_context", None)
        runs = {"task_run": getattr(task_ctx, "task_run", None), "flow_run": flow and flow.flow_run}
        try:
            return self.template.format(**runs, parameters=inputs)
        except (KeyError, IndexError, AttributeError) as error:
            raise ConfigurationError(
                f"result_storage_key={self.template!r} cannot be filled in: {type(error).__name__} {error}; "
                "it may use {task_run.<field>}, {flow_run.<field>} and {parameters[<name>]}."
            ) from error

    def identity(self) -> tuple[object, ...]:
        return (StorageKeyPolicy, self.template)

    def __repr__(self) -> str:
        return f"StorageKeyPolicy({self.template!r})"
