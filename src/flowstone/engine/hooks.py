"""State hooks: the user's functions that are told when a run changes state. Their errors are logged, never raised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowstone.effects import CallHook, Raised
from flowstone.logging import run_logger


async def run_hooks(hooks: Sequence[Any], owner: Any, run: Any, state: Any) -> None:
    """Call each hook with (task or flow, run, state)."""
    for hook in hooks:
        outcome = await CallHook(hook, (owner, run, state))
        if isinstance(outcome, Raised):
            if not isinstance(outcome.error, Exception):
                raise outcome.error
            name = getattr(hook, "__name__", repr(hook))
            run_logger(run).error(
                "The hook %r of %s failed in state %s.", name, owner.name, state.name, exc_info=outcome.error
            )
