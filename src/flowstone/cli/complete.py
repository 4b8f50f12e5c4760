"""What the shell can complete."""

from __future__ import annotations

import click

from flowstone.settings import SETTINGS
from flowstone.settings.current import current_sources


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the settings whose names or paths start like this."""
    known = SETTINGS if incomplete.isupper() or not incomplete else [each.path for each in SETTINGS.values()]
    return [name for name in known if name.startswith(incomplete)]


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the profiles whose names start like this."""
    return [name for name in current_sources().profiles.names() if name.startswith(incomplete)]
