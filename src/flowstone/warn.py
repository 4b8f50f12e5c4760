"""Warnings that are said once per process, however often their cause recurs."""

from __future__ import annotations

from collections.abc import Hashable

_said: set[Hashable] = set()


def warn_once(cause: Hashable, message: str) -> None:
    """Log `message` as a warning of flowstone's unless `cause` has been warned of before."""
    if cause in _said:
        return
    _said.add(cause)
    import logging  # costs a third of what all of flowstone does, and most programs never warn

    logging.getLogger("flowstone").warning(message)


def forget_warnings() -> None:
    """Let every warning be said again; for tests."""
    _said.clear()
