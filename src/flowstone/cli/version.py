"""`flowstone version`: what is installed, and where it keeps things."""

from __future__ import annotations

import json
import platform

import click

from flowstone import __version__
from flowstone.hashing import KEY_FORMAT
from flowstone.records import FORMAT
from flowstone.settings import get_current_settings


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def version(output: str) -> None:
    """Show versions, and where flowstone keeps things."""
    settings = get_current_settings()
    facts = {
        "flowstone": __version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "home": settings.home,
        "profile": settings.profile,
        "key format": str(KEY_FORMAT),
        "record format": str(FORMAT),
    }
    if output == "json":
        click.echo(json.dumps({name.replace(" ", "_").lower(): fact for name, fact in facts.items()}, indent=2))
        return
    for name, fact in facts.items():
        click.echo(f"{name + ':':<15}{fact}")
