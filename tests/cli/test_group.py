from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from flowstone.cli import main
from flowstone.cli.commands import COMMANDS, SECTIONS
from flowstone.exceptions import StoreError

CONTEXT = click.Context(main)


def command(name: str) -> click.Command:
    found = main.get_command(CONTEXT, name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_in_the_help_is_the_first_of_its_own_help(name):
    assert (command(name).help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name]


def test_the_help_shows_every_command_in_its_section(run):
    shown = run("--help")
    assert shown.exit_code == 0
    positions = [shown.output.index(f"\n{section}:") for section in SECTIONS]
    assert positions == sorted(positions)
    assert all(f"\n  {name} " in shown.output for name in COMMANDS)


def leaves(command: click.Command, name: str) -> list[str]:
    if isinstance(command, click.Group):
        return [leaf for each, inner in command.commands.items() for leaf in leaves(inner, f"{name} {each}")]
    return [name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert [leaf for leaf in leaves(command(name), f"flowstone {name}") if f"`{leaf}" not in text] == []


def test_the_help_needs_no_command_to_be_loaded():
    script = (
        "import sys\n"
        "from flowstone.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {'rich', 'tomlkit', 'flowstone.cli.config'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_showing_settings_needs_no_tables_and_no_writer_of_toml(home):
    script = (
        "import sys\n"
        "from flowstone.cli import main\n"
        "main(['config', 'view'], standalone_mode=False)\n"
        "assert not {'rich', 'tomlkit', 'flowstone.cli.demo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(run):
    shown = run("confg")
    assert shown.exit_code == 2
    assert "No such command 'confg'. Did you mean 'config'?" in shown.output
    assert run("zzz").exit_code == 2


@pytest.mark.parametrize(
    "error", [StoreError("The store is away."), PermissionError(errno.EACCES, "Permission denied", "/x")]
)
def test_an_error_is_one_line_and_exit_code_1(run, monkeypatch, error):
    def fail() -> None:
        raise error

    monkeypatch.setattr(command("version"), "callback", fail)
    monkeypatch.setattr(command("version"), "params", [])
    shown = run("version")
    assert (shown.exit_code, shown.output) == (1, f"Error: {error}\n")


def test_a_fault_of_flowstone_is_not_hidden(run, monkeypatch):
    def fail() -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(command("version"), "callback", fail)
    monkeypatch.setattr(command("version"), "params", [])
    assert isinstance(run("version").exception, KeyError)


def test_a_profile_may_be_chosen_for_one_command(run, monkeypatch):
    run("profile", "create", "ci")
    run("-p", "ci", "config", "set", "FLOWSTONE_TASKS_DEFAULT_RETRIES=3")
    assert "DEFAULT_RETRIES='3' (from profile)" in run("--profile", "ci", "config", "view").output
    assert "DEFAULT_RETRIES" not in run("config", "view").output
    assert "FLOWSTONE_PROFILE" not in os.environ


def test_the_chosen_profile_beats_the_one_in_the_environment_and_reaches_child_processes(run, monkeypatch):
    run("profile", "create", "ci")
    monkeypatch.setenv("FLOWSTONE_PROFILE", "default")
    seen = []
    monkeypatch.setattr(command("version"), "callback", lambda **_: seen.append(os.environ["FLOWSTONE_PROFILE"]))
    run("-p", "ci", "version")
    assert seen == ["ci"]
    assert os.environ["FLOWSTONE_PROFILE"] == "default"


def test_choosing_a_profile_that_does_not_exist_is_an_error(run):
    run("profile", "create", "staging")
    shown = run("-p", "stagign", "version")
    assert shown.exit_code == 1
    assert "Did you mean 'staging'?" in shown.output


@pytest.mark.parametrize("command", [["flowstone"], [sys.executable, "-m", "flowstone"]], ids=["script", "module"])
def test_it_starts_from_a_shell(home, command):
    folder = os.path.dirname(sys.executable)
    environment = {**os.environ, "PATH": folder + os.pathsep + os.environ["PATH"]}
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, env=environment)
    assert shown.returncode == 0
    assert shown.stdout.startswith("flowstone ")


def test_a_bad_value_in_the_environment_is_no_traceback(home):
    environment = {**os.environ, "FLOWSTONE_TASKS_DEFAULT_RETRIES": "many"}
    shown = subprocess.run(
        [sys.executable, "-m", "flowstone", "config", "view"], capture_output=True, text=True, env=environment
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("Error: FLOWSTONE_TASKS_DEFAULT_RETRIES cannot be 'many'")
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [
        ("flowstone conf", 1, "config"),
        ("flowstone config set FLOWSTONE_TASKS_REF", 3, "FLOWSTONE_TASKS_REFRESH_CACHE"),
        ("flowstone config unset tasks.ref", 3, "tasks.refresh_cache"),
        ("flowstone profile use de", 3, "default"),
        ("flowstone -p de", 2, "default"),
    ],
)
def test_the_shell_can_complete_commands_settings_and_profiles(home, words, position, expected):
    environment = {
        **os.environ,
        "_FLOWSTONE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(position),
    }
    shown = subprocess.run([sys.executable, "-m", "flowstone"], capture_output=True, text=True, env=environment)
    assert expected in [line.partition(",")[2] for line in shown.stdout.splitlines()]
