from __future__ import annotations

import copy
import pickle

import pytest

from flowstone import settings as public
from flowstone.exceptions import ConfigurationError
from flowstone.settings import SETTINGS, Setting, Settings, get_current_settings, temporary_settings
from flowstone.settings.names import find_setting, require_setting
from flowstone.settings.setting import MASK

DEFAULTS = {
    "FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT": False,
    "FLOWSTONE_RESULTS_DEFAULT_STORAGE": None,
    "FLOWSTONE_RESULTS_DEFAULT_SERIALIZER": "pickle",
    "FLOWSTONE_RESULTS_SIGNING_KEY": None,
    "FLOWSTONE_RESULTS_VERIFY": "all",
    "FLOWSTONE_RESULTS_DURABILITY": "fast",
    "FLOWSTONE_RESULTS_SAFE_SERIALIZERS_ONLY": False,
    "FLOWSTONE_RESULTS_MEMORY_BYTES": 256 << 20,
    "FLOWSTONE_TASKS_REFRESH_CACHE": False,
    "FLOWSTONE_TASKS_DEFAULT_RETRIES": 0,
    "FLOWSTONE_TASKS_DEFAULT_RETRY_DELAY_SECONDS": 0,
    "FLOWSTONE_TASKS_DEFAULT_PERSIST_RESULT": None,
    "FLOWSTONE_TASKS_DEFAULT_NO_CACHE": False,
    "FLOWSTONE_TASKS_DISABLE_CACHING": False,
    "FLOWSTONE_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS": None,
    "FLOWSTONE_TASKS_RUNNER_PROCESS_POOL_MAX_WORKERS": None,
    "FLOWSTONE_FLOWS_DEFAULT_RETRIES": 0,
    "FLOWSTONE_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": 0,
    "FLOWSTONE_LOGGING_LEVEL": "INFO",
    "FLOWSTONE_LOGGING_LOG_PRINTS": False,
    "FLOWSTONE_LOGGING_COLORS": True,
    "FLOWSTONE_HISTORY_ENABLED": True,
    "FLOWSTONE_HISTORY_RETENTION_DAYS": 90,
    "FLOWSTONE_UI_PROGRESS": "auto",
}


def test_the_defaults_are_as_documented(house):
    settings = get_current_settings()
    places = {"FLOWSTONE_HOME", "FLOWSTONE_PROFILE", "FLOWSTONE_PROFILES_PATH", "FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH"}
    assert {name: settings.value(name) for name in SETTINGS if name not in places} == DEFAULTS
    assert settings.home == str(house.home)
    assert settings.profile == "default"
    assert settings.profiles_path == str(house.home / "profiles.toml")
    assert settings.results.local_storage_path == str(house.home / "storage")


@pytest.mark.parametrize("declared", SETTINGS.values(), ids=SETTINGS)
def test_a_default_is_a_value_that_the_setting_accepts(declared):
    assert (
        declared.under_home
        or declared.name == "FLOWSTONE_HOME"
        or declared.kind.parse(declared.default) == declared.default
    )


@pytest.mark.parametrize("declared", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_is_found_by_each_of_its_names(declared):
    for name in (
        declared.name,
        declared.name.lower(),
        declared.path,
        declared.path.replace("_", "-"),
        *declared.aliases,
    ):
        assert find_setting(name) is declared
    assert getattr(public, declared.name) is declared


@pytest.mark.parametrize("declared", SETTINGS.values(), ids=SETTINGS)
def test_a_value_is_found_by_its_group_by_its_flat_name_and_by_its_setting(declared, house):
    settings = get_current_settings()
    nested: object = settings
    for part in declared.path.split("."):
        nested = getattr(nested, part)
    flat = getattr(settings, declared.path.replace(".", "_"))
    assert nested == flat == declared.value() == settings.value(declared.name)


def test_no_two_settings_share_a_name():
    names = [name for each in SETTINGS.values() for name in (each.name, each.path, *each.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name", ["FLOWSTONE_TASKS_DEFAULT_RETREIS", "tasks.default_retreis", "FLOWSTONE-TASKS-DEFAULT-RETREIS"]
)
def test_an_unknown_name_is_an_error_with_a_suggestion(name):
    with pytest.raises(ConfigurationError, match=r"(?i)Did you mean '(FLOWSTONE_TASKS_|tasks\.)DEFAULT_RETRIES'"):
        require_setting(name)


def test_a_name_like_no_other_gets_the_list_instead_of_a_suggestion():
    with pytest.raises(ConfigurationError, match="--show-defaults"):
        require_setting("zzz")


def test_importing_an_unknown_setting_fails_with_a_suggestion():
    with pytest.raises(ImportError):
        exec("from flowstone.settings import FLOWSTONE_HOEM")
    with pytest.raises(AttributeError, match="FLOWSTONE_HOME"):
        public.FLOWSTONE_HOEM
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        public.other


def test_settings_cannot_be_changed(house):
    settings = get_current_settings()
    for target in (settings, settings.results):
        with pytest.raises(AttributeError, match="temporary_settings"):
            target.verify = "header"
        with pytest.raises(AttributeError, match="temporary_settings"):
            del target.verify


def test_a_secret_never_shows(house, monkeypatch):
    monkeypatch.setenv("FLOWSTONE_RESULTS_SIGNING_KEY", "hush")
    settings = get_current_settings()
    assert settings.results.signing_key == "hush"
    for text in (repr(settings), repr(settings.results), str(settings.results)):
        assert "hush" not in text
        assert MASK in text


def test_settings_survive_pickling_and_copying(house, monkeypatch):
    monkeypatch.setenv("FLOWSTONE_TASKS_DEFAULT_RETRIES", "3")
    settings = get_current_settings()
    for other in (pickle.loads(pickle.dumps(settings)), copy.deepcopy(settings)):
        assert isinstance(other, Settings)
        assert other.same_as(settings)
        assert other.tasks.default_retries == 3
        assert other.origin("FLOWSTONE_TASKS_DEFAULT_RETRIES").label == "env"


def test_a_setting_survives_pickling():
    declared = pickle.loads(pickle.dumps(SETTINGS["FLOWSTONE_HOME"]))
    assert isinstance(declared, Setting)
    assert declared.name == "FLOWSTONE_HOME"


def test_environment_variables_carry_settings_to_another_process(house, monkeypatch):
    updates = {
        "FLOWSTONE_TASKS_DEFAULT_RETRY_DELAY_SECONDS": [1, 2.5],
        "FLOWSTONE_RESULTS_SIGNING_KEY": "hush",
        "FLOWSTONE_RESULTS_DEFAULT_STORAGE": "s3://bucket/x",
        "FLOWSTONE_TASKS_DEFAULT_PERSIST_RESULT": True,
    }
    with temporary_settings(updates) as settings:
        carried = settings.to_environment_variables()
    assert set(carried) == set(updates)
    for name, text in carried.items():
        monkeypatch.setenv(name, text)
    assert {name: get_current_settings().value(name) for name in SETTINGS} == {
        name: settings.value(name) for name in SETTINGS
    }
