from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib

import pytest

from flowstone.exceptions import ConfigurationError
from flowstone.settings import SETTINGS, get_current_settings, profile_file
from flowstone.settings.profile_file import changing_profiles

RETRIES = SETTINGS["FLOWSTONE_TASKS_DEFAULT_RETRIES"]
COMMENTED = """\
# what this machine uses
active = "ci"  # mind the cost

[profiles.ci]
# the network is bad there
FLOWSTONE_TASKS_DEFAULT_RETRIES = "2"  # or 3

[profiles.other]
FLOWSTONE_UI_PROGRESS = "off"
"""


def test_the_first_change_makes_a_file_that_only_its_owner_may_read(house):
    with changing_profiles(str(house.profiles)) as file:
        file.set("default", RETRIES, "2")
    assert tomllib.loads(house.profiles.read_text()) == {
        "active": "default",
        "profiles": {"default": {"FLOWSTONE_TASKS_DEFAULT_RETRIES": "2"}},
    }
    if os.name == "posix":
        assert stat.S_IMODE(house.profiles.stat().st_mode) == 0o600


def test_a_change_holds_at_once_in_this_process(house):
    assert get_current_settings().tasks.default_retries == 0
    with changing_profiles(str(house.profiles)) as file:
        file.set("default", RETRIES, "2")
    assert get_current_settings().tasks.default_retries == 2


def test_comments_and_order_stay(house):
    house.write_profiles(COMMENTED)
    with changing_profiles(str(house.profiles)) as file:
        file.set("ci", RETRIES, "5")
    assert house.profiles.read_text() == COMMENTED.replace('"2"', '"5"')


@pytest.mark.parametrize(
    "spelling",
    [
        "tasks.default_retries = 1",
        "[profiles.default.tasks]\ndefault_retries = 1",
        "tasks = { default_retries = 1 }",
        'FLOWSTONE_TASKS_DEFAULT_RETRIES = "1"',
        'FLOWSTONE_TASKS_DEFAULT_RETRIES = "1"\ntasks.default_retries = 1',
    ],
)
def test_every_spelling_of_a_setting_is_replaced_and_removed(house, spelling):
    house.write_profiles(f"[profiles.default]\n{spelling}\n")
    with changing_profiles(str(house.profiles)) as file:
        file.set("default", RETRIES, "2")
    assert get_current_settings().tasks.default_retries == 2
    with changing_profiles(str(house.profiles)) as file:
        assert file.unset("default", RETRIES)
        assert not file.unset("default", RETRIES)
    assert get_current_settings().tasks.default_retries == 0


def test_an_old_name_is_replaced_by_the_new_one(house, tmp_path):
    house.write_profiles('[profiles.default]\nFLOWSTONE_LOCAL_STORAGE_PATH = "/old"\n')
    with changing_profiles(str(house.profiles)) as file:
        file.set("default", SETTINGS["FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH"], "/new")
    assert tomllib.loads(house.profiles.read_text())["profiles"]["default"] == {
        "FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH": "/new"
    }


def test_profiles_are_made_copied_renamed_used_and_deleted(house):
    house.write_profiles(COMMENTED)
    path = str(house.profiles)
    with changing_profiles(path) as file:
        file.create("empty")
        file.create("copy", like="ci")
        file.use("copy")
        file.rename("copy", "better.copy")
        file.delete("other")
    assert tomllib.loads(house.profiles.read_text()) == {
        "active": "better.copy",
        "profiles": {
            "ci": {"FLOWSTONE_TASKS_DEFAULT_RETRIES": "2"},
            "empty": {},
            "better.copy": {"FLOWSTONE_TASKS_DEFAULT_RETRIES": "2"},
        },
    }
    assert get_current_settings().profile == "better.copy"


def test_a_copy_does_not_change_with_its_original(house):
    house.write_profiles(COMMENTED)
    with changing_profiles(str(house.profiles)) as file:
        file.create("copy", like="ci")
        file.set("ci", RETRIES, "9")
    assert tomllib.loads(house.profiles.read_text())["profiles"]["copy"] == {"FLOWSTONE_TASKS_DEFAULT_RETRIES": "2"}


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.create("ci"),
        lambda file: file.create("new", like="nosuch"),
        lambda file: file.create(""),
        lambda file: file.create("a b"),
        lambda file: file.create("a\nb"),
        lambda file: file.rename("ci", "other"),
        lambda file: file.rename("nosuch", "x"),
        lambda file: file.use("nosuch"),
        lambda file: file.delete("ci"),
        lambda file: file.delete("nosuch"),
        lambda file: file.set("nosuch", RETRIES, "1"),
        lambda file: file.unset("nosuch", RETRIES),
    ],
)
def test_what_cannot_be_done_is_an_error_and_changes_nothing(house, change):
    house.write_profiles(COMMENTED)
    with pytest.raises(ConfigurationError):
        with changing_profiles(str(house.profiles)) as file:
            file.set("ci", RETRIES, "7")
            change(file)
    assert house.profiles.read_text() == COMMENTED


def test_the_default_profile_is_there_without_being_made(house):
    house.write_profiles(COMMENTED)
    with changing_profiles(str(house.profiles)) as file:
        file.use("default")
        file.set("default", RETRIES, "4")
    assert get_current_settings().tasks.default_retries == 4


def test_a_broken_file_is_an_error_that_names_it_and_is_left_alone(house):
    house.home.mkdir()
    house.profiles.write_text("[profiles")
    with pytest.raises(ConfigurationError, match=r"profiles\.toml is not valid TOML"):
        with changing_profiles(str(house.profiles)):
            pytest.fail("the block was entered")
    assert house.profiles.read_text() == "[profiles"


def test_a_failed_write_leaves_the_old_file_and_no_other(house, monkeypatch):
    house.write_profiles(COMMENTED)

    def fail(source: str, target: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(profile_file.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        with changing_profiles(str(house.profiles)) as file:
            file.set("ci", RETRIES, "7")
    assert house.profiles.read_text() == COMMENTED
    assert sorted(os.listdir(house.home)) == ["profiles.toml", "profiles.toml.lock"]


@pytest.mark.skipif(os.name != "posix", reason="links need a right on Windows")
def test_a_link_to_the_file_stays_a_link(house, tmp_path):
    (tmp_path / "dotfiles.toml").write_text(COMMENTED)
    house.home.mkdir()
    house.profiles.symlink_to(tmp_path / "dotfiles.toml")
    with changing_profiles(str(house.profiles)) as file:
        file.set("ci", RETRIES, "5")
    assert house.profiles.is_symlink()
    assert 'RETRIES = "5"' in (tmp_path / "dotfiles.toml").read_text()


def test_processes_that_change_the_file_at_once_all_have_their_way(house):
    script = (
        "import sys\n"
        "from flowstone.settings.profile_file import changing_profiles\n"
        "for number in range(5):\n"
        "    with changing_profiles(sys.argv[1]) as file:\n"
        "        file.create(f'{sys.argv[2]}-{number}')\n"
    )
    command = [sys.executable, "-c", script, str(house.profiles)]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    made = set(tomllib.loads(house.profiles.read_text())["profiles"])
    assert made == {f"{name}-{number}" for name in "abc" for number in range(5)} | {"default"}
