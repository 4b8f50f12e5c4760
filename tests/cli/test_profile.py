from __future__ import annotations

import json
import tomllib

import pytest

RETRIES = "FLOWSTONE_TASKS_DEFAULT_RETRIES"


@pytest.fixture
def two(run, home):
    run("config", "set", f"{RETRIES}=2")
    run("profile", "create", "ci", "--from", "default")


def profiles(home):
    return tomllib.loads((home / "profiles.toml").read_text())


def test_create_makes_an_empty_profile_or_a_copy(run, home, two):
    assert "Created profile 'empty'." in run("profile", "create", "empty").output
    assert profiles(home) == {
        "active": "default",
        "profiles": {"default": {RETRIES: "2"}, "ci": {RETRIES: "2"}, "empty": {}},
    }


def test_the_first_profile_made_does_not_take_the_place_of_the_default_one(run, home):
    run("profile", "create", "ci")
    assert run("profile", "ls").output == "* default\n  ci\n"
    assert profiles(home) == {"active": "default", "profiles": {"default": {}, "ci": {}}}


def test_the_default_profile_is_there_without_a_table(run, home):
    home.mkdir()
    (home / "profiles.toml").write_text("[profiles.ci]")
    assert run("profile", "ls").output == "* default\n  ci\n"
    assert run("profile", "use", "default").exit_code == 0


def test_use_switches(run, home, two):
    assert run("profile", "use", "ci").output == "Profile 'ci' is in use.\n"
    assert profiles(home)["active"] == "ci"
    assert run("profile", "ls").output == "  default\n* ci\n"


def test_use_says_if_the_environment_is_stronger(run, two, monkeypatch):
    monkeypatch.setenv("FLOWSTONE_PROFILE", "default")
    shown = run("profile", "use", "ci")
    assert shown.exit_code == 0
    assert "the environment variable FLOWSTONE_PROFILE still says 'default'" in shown.output


def test_ls_works_with_no_profile_made_and_as_json(run, two):
    assert json.loads(run("profile", "ls", "-o", "json").output) == {"active": "default", "profiles": ["default", "ci"]}


def test_ls_before_anything_is_set(run, home):
    assert run("profile", "ls").output == "* default\n"
    assert not home.exists()


def test_inspect_shows_what_a_profile_sets(run, two):
    run("profile", "create", "empty")
    assert run("profile", "inspect").output == f"{RETRIES}='2'\n"
    assert run("profile", "inspect", "empty").output == "Profile 'empty' sets nothing.\n"
    assert json.loads(run("profile", "inspect", "ci", "-o", "json").output) == {RETRIES: "2"}
    assert json.loads(run("profile", "inspect", "empty", "-o", "json").output) == {}


def test_rename_keeps_the_profile_in_use(run, home, two):
    run("profile", "use", "ci")
    assert run("profile", "rename", "ci", "build").output == "Renamed profile 'ci' to 'build'.\n"
    assert profiles(home) == {"active": "build", "profiles": {"default": {RETRIES: "2"}, "build": {RETRIES: "2"}}}


def test_delete_removes_a_profile(run, home, two):
    assert run("profile", "delete", "ci").output == "Deleted profile 'ci'.\n"
    assert list(profiles(home)["profiles"]) == ["default"]


@pytest.mark.parametrize("chosen", ["by the file", "by the environment"])
def test_delete_refuses_the_profile_in_use(run, home, two, monkeypatch, chosen):
    name = "default"
    if chosen == "by the environment":
        monkeypatch.setenv("FLOWSTONE_PROFILE", "ci")
        name = "ci"
    shown = run("profile", "delete", name)
    assert shown.exit_code == 1
    assert f"Profile '{name}' is in use" in shown.output
    assert list(profiles(home)["profiles"]) == ["default", "ci"]


@pytest.mark.parametrize(("answer", "kept"), [("y\n", False), ("n\n", True)])
def test_delete_asks_a_person_first(run, home, two, monkeypatch, answer, kept):
    monkeypatch.setattr("flowstone.cli.ask.is_person", lambda: True)
    run("profile", "delete", "ci", given=answer)
    assert ("ci" in profiles(home)["profiles"]) is kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "ci"], "There is a profile 'ci' already."),
        (["create", "a b"], "cannot be a profile's name"),
        (["create", "x", "--from", "defualt"], "Did you mean 'default'?"),
        (["use", "nosuch"], "`flowstone profile create nosuch` makes it."),
        (["inspect", "nosuch"], "There is no profile 'nosuch'"),
        (["rename", "ci", "default"], "There is a profile 'default' already."),
        (["rename", "nosuch", "x"], "There is no profile 'nosuch'"),
        (["delete", "nosuch"], "There is no profile 'nosuch'"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_what_to_do(run, home, two, arguments, message):
    before = profiles(home)
    shown = run("profile", *arguments)
    assert shown.exit_code == 1
    assert message in shown.output
    assert profiles(home) == before


def test_a_profile_that_the_environment_names_can_be_made(run, monkeypatch):
    monkeypatch.setenv("FLOWSTONE_PROFILE", "new")
    assert run("config", "view").exit_code == 1
    assert run("profile", "create", "new").exit_code == 0
    assert run("config", "view").exit_code == 0
