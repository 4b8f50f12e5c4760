"""`flowstone cache`: looks into a store and keeps it in order."""

from __future__ import annotations

import click

from flowstone.cli.cache_check import check
from flowstone.cli.cache_look import ls, path, show, stats
from flowstone.cli.cache_move import export, import_
from flowstone.cli.cache_remove import prune, rm


@click.group()
def cache() -> None:
    """Look into the store of results and keep it in order."""


for _command in (ls, show, path, stats, rm, prune, check, export, import_):
    cache.add_command(_command)
