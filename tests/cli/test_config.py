from __future__ import annotations

import json
import stat
import sys
import tomllib

import pytest

RETRIES = "FLOWSTONE_TASKS_DEFAULT_RETRIES"


def stored(home, profile="default"):
    return tomllib.loads((home / "profiles.toml").read_text())["profiles"][profile]


def test_set_stores_settings_in_the_profile_in_use(run, home):
    shown = run("config", "set", "FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT=true", f"{RETRIES}=2")
    assert shown.exit_code == 0
    assert shown.output.splitlines() == [
        "Set 'FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT' to 'true'.",
        f"Set '{RETRIES}' to '2'.",
        "Updated profile 'default'.",
    ]
    assert stored(home) == {"FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT": "true", RETRIES: "2"}
    assert f"{RETRIES}='2' (from profile)" in run("config", "view").output


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
def test_set_makes_a_file_that_only_its_owner_may_read(run, home):
    run("config", "set", f"{RETRIES}=2")
    assert stat.S_IMODE((home / "profiles.toml").stat().st_mode) == 0o600


def test_set_understands_paths(run, home):
    run("config", "set", "tasks.default_retries=2")
    assert stored(home) == {RETRIES: "2"}


def test_set_stores_an_old_name_under_the_new_one_and_says_so(run, home, tmp_path):
    shown = run("config", "set", f"FLOWSTONE_LOCAL_STORAGE_PATH={tmp_path}")
    assert shown.exit_code == 0
    assert "'FLOWSTONE_LOCAL_STORAGE_PATH' is the old name of 'FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH'" in shown.output
    assert stored(home) == {"FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH": str(tmp_path)}


def test_set_keeps_a_relative_path_as_what_it_means_now(run, home, tmp_path):
    shown = run("config", "set", "results.local_storage_path=store")
    assert stored(home) == {"FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH": str(tmp_path / "work" / "store")}
    assert str(tmp_path / "work" / "store") in shown.output


def test_set_takes_a_value_with_equal_signs(run, home):
    run("config", "set", "results.signing_key=a=b=")
    assert stored(home) == {"FLOWSTONE_RESULTS_SIGNING_KEY": "a=b="}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("FLOWSTONE_TASKS_DEFAULT_RETREIS=2", f"Did you mean '{RETRIES}'?"),
        ("tasks.default_retreis=2", "Did you mean 'tasks.default_retries'?"),
        (RETRIES, "write NAME=VALUE"),
        (
            f"{RETRIES}=many",
            f"{RETRIES} cannot be 'many' (from the command line). It accepts a whole number, 0 or more.",
        ),
        ("FLOWSTONE_HOME=/x", "set it in the environment"),
        ("FLOWSTONE_PROFILES_PATH=/x", "set it in the environment"),
        ("FLOWSTONE_PROFILE=x", "set it in the environment"),
    ],
)
def test_set_refuses_what_it_cannot_store_and_stores_nothing(run, home, assignment, message):
    shown = run("config", "set", "FLOWSTONE_UI_PROGRESS=on", assignment)
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: ")
    assert message in shown.output
    assert not home.exists()


def test_set_warns_of_what_is_stronger(run, monkeypatch):
    monkeypatch.setenv(RETRIES, "4")
    shown = run("config", "set", f"{RETRIES}=2")
    assert shown.exit_code == 0
    assert f"the environment variable {RETRIES} is stronger" in shown.output


def test_set_mends_a_profile_with_a_bad_value(run, home):
    home.mkdir()
    (home / "profiles.toml").write_text(f'[profiles.default]\n{RETRIES} = "many"\n')
    assert run("config", "view").exit_code == 1
    assert run("config", "set", f"{RETRIES}=2").exit_code == 0
    assert run("config", "view").exit_code == 0


def test_set_in_a_profile_that_does_not_exist_is_an_error(run, monkeypatch):
    monkeypatch.setenv("FLOWSTONE_PROFILE", "nosuch")
    shown = run("config", "set", f"{RETRIES}=2")
    assert shown.exit_code == 1
    assert "There is no profile 'nosuch'" in shown.output


def test_unset_removes_settings(run, home):
    run("config", "set", f"{RETRIES}=2", "ui.progress=on")
    shown = run("config", "unset", RETRIES)
    assert shown.output.splitlines() == [f"Unset '{RETRIES}'.", "Updated profile 'default'."]
    assert stored(home) == {"FLOWSTONE_UI_PROGRESS": "on"}


@pytest.mark.parametrize(
    ("name", "message"),
    [("FLOWSTONE_TASKS_DEFAULT_RETREIS", "Did you mean"), (RETRIES, "is not set in profile 'default'")],
)
def test_unset_refuses_what_is_not_there_and_removes_nothing(run, home, name, message):
    run("config", "set", "ui.progress=on")
    shown = run("config", "unset", "ui.progress", name)
    assert shown.exit_code == 1
    assert message in shown.output
    assert stored(home) == {"FLOWSTONE_UI_PROGRESS": "on"}


@pytest.mark.parametrize(("answer", "kept"), [("y\n", False), ("n\n", True)])
def test_unset_asks_a_person_first(run, home, monkeypatch, answer, kept):
    run("config", "set", f"{RETRIES}=2")
    monkeypatch.setattr("flowstone.cli.ask.is_person", lambda: True)
    run("config", "unset", RETRIES, given=answer)
    assert (RETRIES in stored(home)) is kept


def test_unset_does_not_ask_with_yes(run, home, monkeypatch):
    run("config", "set", f"{RETRIES}=2")
    monkeypatch.setattr("flowstone.cli.ask.is_person", lambda: True)
    assert run("config", "unset", "-y", RETRIES).exit_code == 0
    assert stored(home) == {}


def test_view_shows_what_is_set_and_where(run, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWSTONE_UI_PROGRESS", "on")
    (tmp_path / "work" / ".env").write_text("FLOWSTONE_LOGGING_LEVEL=debug")
    (tmp_path / "work" / "flowstone.toml").write_text("[history]\nenabled = false")
    (tmp_path / "work" / "pyproject.toml").write_text("[tool.flowstone.flows]\ndefault_retries = 1")
    run("config", "set", f"{RETRIES}=2")
    assert run("config", "view").output.splitlines() == [
        "FLOWSTONE_PROFILE='default' (from profiles file)",
        f"{RETRIES}='2' (from profile)",
        "FLOWSTONE_FLOWS_DEFAULT_RETRIES='1' (from pyproject.toml)",
        "FLOWSTONE_LOGGING_LEVEL='DEBUG' (from .env file)",
        "FLOWSTONE_HISTORY_ENABLED='false' (from flowstone.toml)",
        "FLOWSTONE_UI_PROGRESS='on' (from env)",
    ]
    assert f"{RETRIES}='2'\n" in run("config", "view", "--hide-sources").output


def test_view_shows_defaults_when_asked(run):
    assert run("config", "view").output == "FLOWSTONE_PROFILE='default' (from defaults)\n"
    shown = run("config", "view", "--show-defaults").output
    assert "FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT='false' (from defaults)" in shown
    assert "FLOWSTONE_TASKS_DEFAULT_PERSIST_RESULT='None' (from defaults)" in shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_shown_only_when_asked_for(run, form):
    set_ = run("config", "set", "results.signing_key=hush")
    for shown in (set_, run("config", "view", "-o", form), run("profile", "inspect", "-o", form)):
        assert shown.exit_code == 0
        assert "********" in shown.output
        assert "hush" not in shown.output
    assert "hush" in run("config", "view", "--show-secrets", "-o", form).output
    assert "hush" in run("profile", "inspect", "--show-secrets", "-o", form).output


def test_view_as_json_has_values_and_sources(run):
    run("config", "set", "tasks.default_retry_delay_seconds=1,5", "results.memory_bytes=1KiB")
    data = json.loads(run("config", "view", "--output", "json").output)
    assert data["FLOWSTONE_TASKS_DEFAULT_RETRY_DELAY_SECONDS"] == {"value": [1, 5], "source": "profile"}
    data = json.loads(run("config", "view", "-o", "json", "--hide-sources", "--show-defaults").output)
    assert data["FLOWSTONE_RESULTS_MEMORY_BYTES"] == 1024
    assert data["FLOWSTONE_RESULTS_SIGNING_KEY"] is None


def test_validate_is_content_with_valid_settings(run, home):
    assert run("config", "validate").output == "All settings are valid.\n"
    run("config", "set", f"{RETRIES}=2")
    assert run("config", "validate").exit_code == 0


def test_validate_names_everything_that_is_wrong_anywhere(run, home, monkeypatch, tmp_path):
    home.mkdir()
    (home / "profiles.toml").write_text(
        f'active = "gone"\n[profiles.default]\n{RETRIES} = "many"\n[profiles.idle]\nFLOWSTONE_HOME = "/x"\n'
    )
    (tmp_path / "work" / "flowstone.toml").write_text("[ui]\nprogress = 'maybe'\nprogres = 'on'")
    monkeypatch.setenv("FLOWSTONE_UI_PROGRESS", "on")
    monkeypatch.setenv("FLOWSTONE_HOEM", "/x")
    shown = run("config", "validate")
    assert shown.exit_code == 1
    for part in (
        "There is no profile 'gone'",
        f"{RETRIES} cannot be 'many' (from profiles.default.",
        "profiles.idle.FLOWSTONE_HOME in",
        "FLOWSTONE_UI_PROGRESS cannot be 'maybe'",
        "Did you mean 'ui.progress'?",
        "Did you mean 'FLOWSTONE_HOME'?",
    ):
        assert part in shown.output
