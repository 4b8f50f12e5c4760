"""`flowstone profile`: keeps several sets of settings and switches between them."""

from __future__ import annotations

import json

import click

from flowstone.cli.ask import confirm_loss
from flowstone.cli.complete import complete_profile
from flowstone.exceptions import ConfigurationError
from flowstone.settings import SETTINGS
from flowstone.settings.current import current_sources
from flowstone.settings.resolve import Sources
from flowstone.settings.setting import MASK


@click.group()
def profile() -> None:
    """Keep several sets of settings and switch between them."""


@profile.command()
@click.argument("name")
@click.option(
    "--from", "like", metavar="OTHER", shell_complete=complete_profile, help="Start with what this profile sets."
)
def create(name: str, like: str | None) -> None:
    """Make a profile."""
    from flowstone.settings.profile_file import changing_profiles  # loads tomlkit, which takes longer than to read

    with changing_profiles(current_sources().profiles.path) as file:
        file.create(name, like=like)
    click.echo(f"Created profile {name!r}. `flowstone profile use {name}` switches to it.")


@profile.command()
@click.argument("name", shell_complete=complete_profile)
def use(name: str) -> None:
    """Switch to a profile."""
    from flowstone.settings.profile_file import changing_profiles  # loads tomlkit, which takes longer than to read

    sources = current_sources()
    with changing_profiles(sources.profiles.path) as file:
        file.use(name)
    click.echo(f"Profile {name!r} is in use.")
    for layer in sources.layers:
        if "FLOWSTONE_PROFILE" in layer.entries:
            chosen, origin = layer.entries["FLOWSTONE_PROFILE"]
            click.echo(f"Note: {origin.place} still says {chosen!r}, which is stronger.", err=True)
            return


@profile.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def ls(output: str) -> None:
    """List profiles; a star marks the one in use."""
    sources = current_sources()
    in_use, _ = sources.profile()
    names = sources.profiles.names()
    if output == "json":
        click.echo(json.dumps({"active": in_use, "profiles": names}, indent=2))
        return
    for name in names:
        click.echo(click.style(f"* {name}", bold=True) if name == in_use else f"  {name}")


@profile.command()
@click.argument("name", required=False, shell_complete=complete_profile)
@click.option("--show-secrets", is_flag=True, help="Show secrets in the clear.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def inspect(name: str | None, show_secrets: bool, output: str) -> None:
    """Show what a profile sets; by default the one in use."""
    sources = current_sources()
    name = name or sources.profile()[0]
    shown = _contents(sources, name, show_secrets)
    if output == "json":
        click.echo(json.dumps(shown, indent=2))
    elif not shown:
        click.echo(f"Profile {name!r} sets nothing.")
    for key, value in shown.items() if output == "text" else ():
        click.echo(f"{key}={value!r}")


@profile.command()
@click.argument("old", metavar="NAME", shell_complete=complete_profile)
@click.argument("new", metavar="NEW_NAME")
def rename(old: str, new: str) -> None:
    """Give a profile another name."""
    from flowstone.settings.profile_file import changing_profiles  # loads tomlkit, which takes longer than to read

    with changing_profiles(current_sources().profiles.path) as file:
        file.rename(old, new)
    click.echo(f"Renamed profile {old!r} to {new!r}.")


@profile.command()
@click.argument("name", shell_complete=complete_profile)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Remove a profile, unless it is in use."""
    from flowstone.settings.profile_file import changing_profiles  # loads tomlkit, which takes longer than to read

    sources = current_sources()
    sources.profiles.table(name)
    if name == sources.profile()[0]:
        raise ConfigurationError(f"Profile {name!r} is in use; `flowstone profile use` another one first.")
    confirm_loss(f"Delete profile {name!r}?", yes=yes)
    with changing_profiles(sources.profiles.path) as file:
        file.delete(name)
    click.echo(f"Deleted profile {name!r}.")


def _contents(sources: Sources, name: str, show_secrets: bool) -> dict[str, object]:
    entries = sources.profile_layer(name).entries
    hidden = {key for key in entries if SETTINGS[key].secret and not show_secrets}
    return {key: MASK if key in hidden else raw for key, (raw, _) in entries.items()}
