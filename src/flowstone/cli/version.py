"""`flowstone version`: what is installed, and where it keeps things."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version as installed_version

import click

from flowstone.records import FORMAT
from flowstone.settings import get_current_settings


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def version(output: str) -> None:
    """Show versions, and where flowstone keeps things."""
    settings = get_current_settings()
    facts = {
        "flowstone": installed_version("flowstone"),
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "home": settings.home,
        "profile": settings.profile,
        "record format": str(FORMAT),
    }
    if output == "json":
        click.echo(json.dumps({name.replace(" ", "_").lower(): fact for name, fact in facts.items()}, indent=2))
        return
    for name, fact in facts.items():
        click.echo(f"{name + ':':<15}{fact}")
