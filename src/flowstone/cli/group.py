"""The frame of the command line: finds and loads commands, says what is wrong in a line, chooses the profile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click

from flowstone import __version__
from flowstone.cli.commands import COMMANDS, SECTIONS
from flowstone.cli.complete import complete_profile
from flowstone.exceptions import FlowstoneException
from flowstone.settings.current import current_sources
from flowstone.settings.names import closest

_PROFILE_VARIABLE = "FLOWSTONE_PROFILE"


class _Formatter(click.HelpFormatter):
    """Sets headings in bold where the terminal can."""

    def write_heading(self, heading: str) -> None:
        super().write_heading(click.style(heading, bold=True))


class _Context(click.Context):
    formatter_class = _Formatter


class Commands(click.Group):
    """A group whose commands are loaded when they are called, and whose errors are one line and exit code 1."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"flowstone.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        close = closest(args[0], COMMANDS) if args[0] not in COMMANDS else None
        if close:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except FlowstoneException as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has seen enough, which click knows how to end
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-p",
    "--profile",
    metavar="NAME",
    shell_complete=complete_profile,
    help="Use the settings of this profile for one command.",
)
@click.version_option(__version__, prog_name="flowstone", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, profile: str | None) -> None:
    """Remember what functions computed, know when that is still true, and tell why.

    Settings come from the environment, .env, flowstone.toml, pyproject.toml and the profile in use, in this order.
    The exit code is 0 when all is well, 1 when something is wrong, 2 when the command line is.
    """
    if profile is not None:
        ctx.with_resource(_profile_chosen(profile))
        current_sources().profiles.table(profile)


@contextmanager
def _profile_chosen(name: str) -> Iterator[None]:
    """Choose a profile by the environment, which processes that a command starts inherit."""
    before = os.environ.get(_PROFILE_VARIABLE)
    os.environ[_PROFILE_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PROFILE_VARIABLE]
        else:
            os.environ[_PROFILE_VARIABLE] = before
