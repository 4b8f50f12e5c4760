"""The command line: one command a file, loaded when it is called."""

from __future__ import annotations

from flowstone.cli.group import main

__all__ = ["main"]
