"""Asks before something is lost, if there is a person to ask."""

from __future__ import annotations

import sys

import click


def is_person() -> bool:
    """Tell if a person sits at the other end of standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm_loss(question: str, *, yes: bool) -> None:
    """Ask a person, unless `yes`, and end the command if they say no."""
    if not yes and is_person():
        click.confirm(question, abort=True)
