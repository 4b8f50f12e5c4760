"""`flowstone config`: shows settings and where they come from, and changes them in the profile in use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import click

from flowstone.cli.ask import confirm_loss
from flowstone.cli.complete import complete_setting
from flowstone.exceptions import ConfigurationError
from flowstone.settings import SETTINGS, Setting, Settings, get_current_settings
from flowstone.settings.current import current_sources
from flowstone.settings.names import require_setting
from flowstone.settings.resolve import Sources, read_value
from flowstone.settings.schema import DEFAULT, Origin
from flowstone.settings.setting import MASK
from flowstone.settings.sources import Layer

_PROFILE = SETTINGS["FLOWSTONE_PROFILE"]


@click.group()
def config() -> None:
    """Show and change settings."""


@config.command("set")
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE...", shell_complete=complete_setting)
def set_(assignments: Sequence[str]) -> None:
    """Set settings in the profile in use.

    A name is an environment variable's (FLOWSTONE_TASKS_DEFAULT_RETRIES) or a path (tasks.default_retries). All values
    are checked before any is stored.
    """
    from flowstone.settings.profile_file import changing_profiles  # loads tomlkit, which takes longer than to read

    wanted = [_parse_assignment(assignment) for assignment in assignments]
    sources = current_sources()
    name, _ = sources.profile()
    with changing_profiles(sources.profiles.path) as file:
        for declared, text in wanted:
            file.set(name, declared, text)
    for declared, text in wanted:
        click.echo(f"Set {declared.name!r} to {MASK if declared.secret else text!r}.")
        _warn_if_shadowed(declared, sources)
    click.echo(f"Updated profile {name!r}.")


@config.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_setting)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def unset(names: Sequence[str], yes: bool) -> None:
    """Remove settings from the profile in use."""
    from flowstone.settings.profile_file import changing_profiles  # loads tomlkit, which takes longer than to read

    wanted = [require_setting(name) for name in names]
    sources = current_sources()
    profile, _ = sources.profile()
    confirm_loss(f"Remove {', '.join(each.name for each in wanted)} from profile {profile!r}?", yes=yes)
    with changing_profiles(sources.profiles.path) as file:
        for declared in wanted:
            if not file.unset(profile, declared):
                raise ConfigurationError(f"{declared.name} is not set in profile {profile!r}.")
    for declared in wanted:
        click.echo(f"Unset {declared.name!r}.")
        _warn_if_shadowed(declared, sources)
    click.echo(f"Updated profile {profile!r}.")


@config.command()
@click.option("--show-defaults", is_flag=True, help="Show also what is at its default.")
@click.option("--hide-sources", is_flag=True, help="Do not say where values come from.")
@click.option("--show-secrets", is_flag=True, help="Show secrets in the clear.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def view(show_defaults: bool, hide_sources: bool, show_secrets: bool, output: str) -> None:
    """Show the settings in force, and where each comes from."""
    settings = get_current_settings()
    shown = [
        (declared, settings.origin(name))
        for name, declared in SETTINGS.items()
        if show_defaults or declared is _PROFILE or settings.origin(name) is not DEFAULT
    ]
    if output == "json":
        click.echo(json.dumps(dict(_as_data(settings, shown, hide_sources, show_secrets)), indent=2))
        return
    for declared, origin in shown:
        text = f"{declared.name}={declared.show(settings.value(declared.name), secrets=show_secrets)!r}"
        click.echo(text if hide_sources else f"{text} (from {origin.label})")


@config.command()
def validate() -> None:
    """Check everything that is set anywhere.

    That is the environment, the files of this folder and all profiles, whether in force or not.
    """
    sources = current_sources()
    layers = [*sources.layers, *map(sources.profile_layer, sources.profiles.names())]
    problems = [*_missing_profile(sources), *(problem for layer in layers for problem in _problems(layer))]
    if problems:
        raise ConfigurationError("\n".join(problems))
    click.echo("All settings are valid.")


def _parse_assignment(assignment: str) -> tuple[Setting, str]:
    name, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigurationError(f"{assignment!r} is no assignment; write NAME=VALUE.")
    declared = require_setting(name)
    if not declared.in_profiles:
        raise ConfigurationError(
            f"{declared.name} says where profiles are, so no profile can set it; set it in the environment."
        )
    read_value(declared, text, Origin("command line", "the command line"))
    if declared.name != name and name in declared.aliases:
        click.echo(f"{name!r} is the old name of {declared.name!r}, under which it is stored.", err=True)
    return declared, declared.kind.keep(text)


def _warn_if_shadowed(declared: Setting, sources: Sources) -> None:
    for layer in sources.layers:
        if declared.name in layer.entries:
            _, origin = layer.entries[declared.name]
            click.echo(
                f"Note: {origin.place} is stronger than any profile, and decides as long as it is set.", err=True
            )
            return


def _as_data(
    settings: Settings, shown: Iterable[tuple[Setting, Origin]], hide_sources: bool, show_secrets: bool
) -> Iterator[tuple[str, object]]:
    for declared, origin in shown:
        value = settings.value(declared.name)
        hidden = declared.secret and value is not None and not show_secrets
        plain = MASK if hidden else value
        yield declared.name, plain if hide_sources else {"value": plain, "source": origin.label}


def _missing_profile(sources: Sources) -> Iterator[str]:
    try:
        sources.profiles.table(sources.profile()[0])
    except ConfigurationError as error:
        yield str(error)


def _problems(layer: Layer) -> Iterator[str]:
    for name, (raw, origin) in layer.entries.items():
        try:
            read_value(SETTINGS[name], raw, origin)
        except ConfigurationError as error:
            yield str(error)
    yield from layer.complaints.values()
