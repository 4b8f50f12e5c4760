from __future__ import annotations

import itertools

import pytest

from flowstone.exceptions import ConfigurationError
from flowstone.settings import SETTINGS, get_current_settings, reload_settings, temporary_settings
from flowstone.settings.schema import DEFAULT

RETRIES = "FLOWSTONE_TASKS_DEFAULT_RETRIES"


def give(house, monkeypatch, source: str, value: int) -> None:
    if source == "env":
        monkeypatch.setenv(RETRIES, str(value))
    elif source == ".env file":
        house.write(".env", f"{RETRIES}={value}")
    elif source == "flowstone.toml":
        house.write("flowstone.toml", f"[tasks]\ndefault_retries = {value}")
    elif source == "pyproject.toml":
        house.write("pyproject.toml", f"[tool.flowstone.tasks]\ndefault_retries = {value}")
    else:
        house.write_profiles(f'active = "ci"\n[profiles.ci]\n{RETRIES} = "{value}"')


STRONGEST_FIRST = ("env", ".env file", "flowstone.toml", "pyproject.toml", "profile")


@pytest.mark.parametrize(
    "sources", [pair for n in (1, 2, 5) for pair in itertools.combinations(STRONGEST_FIRST, n)], ids="+".join
)
def test_the_strongest_source_decides(house, monkeypatch, sources):
    for value, source in enumerate(sources, 1):
        give(house, monkeypatch, source, value)
    settings = get_current_settings()
    assert settings.tasks.default_retries == 1
    assert settings.origin(RETRIES).label == sources[0]


def test_what_no_source_says_has_its_default(house):
    assert get_current_settings().origin(RETRIES) is DEFAULT


def test_places_in_the_home_follow_the_home(house, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWSTONE_HOME", str(tmp_path / "other"))
    settings = get_current_settings()
    assert settings.results.local_storage_path == str(tmp_path / "other" / "storage")
    assert settings.profiles_path == str(tmp_path / "other" / "profiles.toml")


def test_the_profile_is_chosen_by_the_environment_before_the_file(house, monkeypatch):
    house.write_profiles(
        'active = "a"\n[profiles.a]\nFLOWSTONE_TASKS_DEFAULT_RETRIES = "1"\n[profiles.b]\ntasks.default_retries = 2'
    )
    assert get_current_settings().tasks.default_retries == 1
    monkeypatch.setenv("FLOWSTONE_PROFILE", "b")
    assert get_current_settings().tasks.default_retries == 2
    assert get_current_settings().profile == "b"


def test_the_file_of_profiles_may_be_elsewhere(house, monkeypatch, tmp_path):
    (tmp_path / "p.toml").write_text('[profiles.default]\nFLOWSTONE_TASKS_DEFAULT_RETRIES = "4"')
    monkeypatch.setenv("FLOWSTONE_PROFILES_PATH", str(tmp_path / "p.toml"))
    assert get_current_settings().tasks.default_retries == 4


def test_a_profile_that_does_not_exist_is_an_error_with_a_suggestion(house, monkeypatch):
    house.write_profiles("[profiles.staging]")
    monkeypatch.setenv("FLOWSTONE_PROFILE", "stagnig")
    with pytest.raises(ConfigurationError, match=r"no profile 'stagnig'.*Did you mean 'staging'"):
        get_current_settings()


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("env", "the environment variable FLOWSTONE_TASKS_DEFAULT_RETRIES"),
        (".env file", r"FLOWSTONE_TASKS_DEFAULT_RETRIES in .*\.env"),
        ("flowstone.toml", r"tasks\.default_retries in .*flowstone\.toml"),
        ("pyproject.toml", r"tool\.flowstone\.tasks\.default_retries in .*pyproject\.toml"),
        ("profile", r"profiles\.ci\.FLOWSTONE_TASKS_DEFAULT_RETRIES in .*profiles\.toml"),
    ],
)
def test_a_bad_value_names_setting_value_place_and_what_is_accepted(house, monkeypatch, source, place):
    message = rf"{RETRIES} cannot be '?-1'? \(from {place}\)\. It accepts a whole number, 0 or more\."
    with pytest.raises(ConfigurationError, match=message):
        give(house, monkeypatch, source, -1)
        get_current_settings()


def test_all_bad_values_are_named_at_once(house, monkeypatch):
    monkeypatch.setenv(RETRIES, "x")
    monkeypatch.setenv("FLOWSTONE_UI_PROGRESS", "y")
    with pytest.raises(ConfigurationError) as raised:
        get_current_settings()
    assert RETRIES in str(raised.value)
    assert "FLOWSTONE_UI_PROGRESS" in str(raised.value)


def test_a_bad_value_that_a_stronger_source_overrules_does_no_harm(house, monkeypatch):
    give(house, monkeypatch, "env", 2)
    give(house, monkeypatch, "flowstone.toml", -1)
    assert get_current_settings().tasks.default_retries == 2


def test_a_bad_secret_is_not_shown(house):
    with pytest.raises(ConfigurationError) as raised:
        house.write("flowstone.toml", "[results]\nsigning_key = 123456")
    assert "FLOWSTONE_RESULTS_SIGNING_KEY" in str(raised.value)
    assert "123456" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ['[profiles]\nci = "x"', "profiles = 3", "active = 3", "[profiles", "\xff"],
    ids=["text", "number", "active", "syntax", "bytes"],
)
def test_a_file_of_profiles_of_another_shape_is_an_error_that_names_it(house, text):
    house.home.mkdir()
    house.profiles.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"profiles\.toml"):
        reload_settings()


def test_a_profile_cannot_say_where_profiles_are(house, caplog):
    house.write_profiles('[profiles.default]\nFLOWSTONE_HOME = "/elsewhere"')
    assert get_current_settings().home == str(house.home)
    assert "profiles.default.FLOWSTONE_HOME" in caplog.text


def test_without_a_home_folder_the_error_says_what_to_set(house, monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setenv("HOME", "")
    with pytest.raises(ConfigurationError, match="set FLOWSTONE_HOME"):
        get_current_settings()


def test_a_misspelt_name_is_warned_of_once_with_a_suggestion(house, monkeypatch, caplog):
    monkeypatch.setenv("FLOWSTONE_TASKS_DEFAULT_RETREIS", "3")
    house.write("flowstone.toml", "[tasks]\ndefault_retreis = 3")
    for _ in range(3):
        reload_settings()
    assert [record.name for record in caplog.records] == ["flowstone", "flowstone"]
    assert f"Did you mean {RETRIES!r}?" in caplog.messages[0]
    assert "Did you mean 'tasks.default_retries'?" in caplog.messages[1]


def test_an_override_is_stronger_than_everything(house, monkeypatch):
    give(house, monkeypatch, "env", 2)
    with temporary_settings({RETRIES: 3}) as settings:
        assert settings.tasks.default_retries == 3
        assert settings.origin(RETRIES).label == "temporary_settings"


def test_a_restored_default_is_stronger_than_everything_but_an_update(house, monkeypatch):
    give(house, monkeypatch, "env", 2)
    with temporary_settings(restore_defaults={RETRIES, SETTINGS["FLOWSTONE_HOME"]}) as settings:
        assert settings.tasks.default_retries == 0
    with temporary_settings({RETRIES: 5}, {RETRIES}) as settings:
        assert settings.tasks.default_retries == 5
