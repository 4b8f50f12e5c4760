from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from flowstone.exceptions import ConfigurationError
from flowstone.settings import SETTINGS, current, get_current_settings, reload_settings, temporary_settings

RETRIES = "FLOWSTONE_TASKS_DEFAULT_RETRIES"


def retries() -> int:
    return get_current_settings().tasks.default_retries


def let_files_settle() -> None:
    watch = current._READER.get().watch
    assert watch is not None
    time.sleep(max(0.0, watch.due - time.monotonic()))


def test_while_nothing_changes_it_is_the_same_object(house):
    first = get_current_settings()
    let_files_settle()
    assert get_current_settings() is first
    assert reload_settings() is first


def test_a_variable_set_changed_and_removed_is_seen_at_once(house):
    seen = []
    for text in ("1", "2", None, "3"):
        if text is None:
            del os.environ[RETRIES]
        else:
            os.environ[RETRIES] = text
        seen.append(retries())
    del os.environ[RETRIES]
    assert seen == [1, 2, 0, 3]
    assert retries() == 0


def test_a_variable_of_somebody_else_changes_nothing(house, monkeypatch):
    first = get_current_settings()
    monkeypatch.setenv("SOMEBODY_ELSE", "1")
    let_files_settle()
    assert get_current_settings() is first


def test_an_old_name_set_later_is_seen_at_once(house, monkeypatch, tmp_path):
    get_current_settings()
    monkeypatch.setenv("FLOWSTONE_LOCAL_STORAGE_PATH", str(tmp_path / "x"))
    assert get_current_settings().results.local_storage_path == str(tmp_path / "x")


def test_another_home_folder_is_seen_at_once(house, monkeypatch, tmp_path):
    get_current_settings()
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "somebody"))
    assert get_current_settings().home == str(tmp_path / "somebody" / ".flowstone")


@pytest.mark.parametrize("name", [".env", "flowstone.toml", "pyproject.toml", "profiles"])
def test_a_file_written_later_is_seen_soon(house, name):
    texts = {
        ".env": f"{RETRIES}=7",
        "flowstone.toml": "[tasks]\ndefault_retries = 7",
        "pyproject.toml": "[tool.flowstone.tasks]\ndefault_retries = 7",
        "profiles": f'[profiles.default]\n{RETRIES} = "7"',
    }
    assert retries() == 0
    path = house.profiles if name == "profiles" else house.work / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(texts[name])
    let_files_settle()
    assert retries() == 7
    path.unlink()
    let_files_settle()
    assert retries() == 0


def test_another_current_folder_is_seen_soon(house, monkeypatch, tmp_path):
    assert retries() == 0
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "flowstone.toml").write_text("[tasks]\ndefault_retries = 7")
    monkeypatch.chdir(tmp_path / "there")
    let_files_settle()
    assert retries() == 7


def test_files_are_not_looked_at_on_every_call(house, monkeypatch):
    get_current_settings()
    monkeypatch.setattr(os, "stat", mock.Mock(side_effect=AssertionError("a file was looked at")))
    get_current_settings()


def test_reloading_sees_a_change_however_short_ago_the_last_look_was(house):
    assert retries() == 0
    (house.work / "flowstone.toml").write_text("[tasks]\ndefault_retries = 7")
    assert reload_settings().tasks.default_retries == 7


def test_where_looking_is_slow_it_is_done_less_often(house):
    watch = current._Watch({}, None)
    rests = []
    for cost in (0.0, 0.01, 10.0):
        watch.rest(cost)
        rests.append(round(watch.due - time.monotonic(), 1))
    assert rests == [0.1, 1.0, 2.0]


def test_a_bad_edit_of_a_file_does_not_stop_a_running_program(house, caplog):
    house.write("flowstone.toml", "[tasks]\ndefault_retries = 7")
    for text in ("[tasks]\ndefault_retries = 'many'", "[tasks", "[tasks]\ndefault_retries = 'many'"):
        (house.work / "flowstone.toml").write_text(text)
        let_files_settle()
        assert retries() == 7
    assert [("stay in force" in message) for message in caplog.messages] == [True, True]
    (house.work / "flowstone.toml").write_text("[tasks]\ndefault_retries = 8")
    let_files_settle()
    assert retries() == 8


def test_after_a_bad_edit_other_files_are_still_looked_at(house):
    house.write_profiles('[profiles.default]\nFLOWSTONE_UI_PROGRESS = "on"')
    (house.work / "flowstone.toml").write_text("[tasks")
    let_files_settle()
    get_current_settings()
    (house.work / "flowstone.toml").unlink()
    house.profiles.write_text('[profiles.default]\nFLOWSTONE_UI_PROGRESS = "off"')
    let_files_settle()
    assert get_current_settings().ui.progress == "off"


def test_a_bad_variable_is_an_error_on_every_call_until_it_is_mended(house, monkeypatch):
    assert retries() == 0
    monkeypatch.setenv(RETRIES, "many")
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            get_current_settings()
    monkeypatch.setenv(RETRIES, "1")
    assert retries() == 1


def test_a_bad_file_is_an_error_when_it_is_the_first_thing_seen_in_a_folder(house, monkeypatch, tmp_path):
    get_current_settings()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "flowstone.toml").write_text("[tasks")
    monkeypatch.chdir(tmp_path / "there")
    let_files_settle()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"flowstone\.toml is not valid TOML"):
            get_current_settings()


def test_a_removed_current_folder_does_no_harm(house, monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert reload_settings().tasks.default_retries == 0


def test_a_misspelt_variable_set_later_is_warned_of(house, monkeypatch, caplog):
    get_current_settings()
    monkeypatch.setenv("FLOWSTONE_TASKS_DEFAULT_RETREIS", "1")
    let_files_settle()
    get_current_settings()
    assert "FLOWSTONE_TASKS_DEFAULT_RETREIS" in caplog.text


def test_a_log_handler_that_asks_for_settings_is_no_trouble(house, monkeypatch):
    class Curious(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.seen = get_current_settings()

    handler = Curious()
    logging.getLogger("flowstone").addHandler(handler)
    try:
        monkeypatch.setenv("FLOWSTONE_TASKS_DEFAULT_RETREIS", "1")
        monkeypatch.setenv(RETRIES, "4")
        assert get_current_settings() is handler.seen
    finally:
        logging.getLogger("flowstone").removeHandler(handler)


def test_an_environment_that_is_a_plain_mapping_works_too(house, monkeypatch):
    monkeypatch.setattr(os, "environ", {"HOME": str(house.home.parent), RETRIES: "5"})
    assert retries() == 5
    os.environ[RETRIES] = "6"
    assert retries() == 6


def test_temporary_settings_end_with_their_block_and_nest(house):
    with temporary_settings({RETRIES: 1}):
        with temporary_settings({SETTINGS[RETRIES]: 2, "ui.progress": "on"}):
            assert (retries(), get_current_settings().ui.progress) == (2, "on")
        with temporary_settings({"ui.progress": "on"}):
            assert (retries(), get_current_settings().ui.progress) == (1, "on")
        with temporary_settings(restore_defaults=[RETRIES]):
            assert retries() == 0
        assert retries() == 1
    assert retries() == 0


def test_temporary_settings_may_be_used_again(house):
    block = temporary_settings({RETRIES: 1})
    with block, block:
        assert retries() == 1
    assert retries() == 0
    with block:
        assert retries() == 1


def test_inside_of_temporary_settings_it_is_the_same_object_and_sees_other_changes(house, monkeypatch):
    with temporary_settings({RETRIES: 1}) as settings:
        assert get_current_settings() is settings
        monkeypatch.setenv("FLOWSTONE_UI_PROGRESS", "on")
        assert (retries(), get_current_settings().ui.progress) == (1, "on")


def test_a_temporary_home_brings_its_own_profiles(house, tmp_path):
    house.write_profiles(f'[profiles.default]\n{RETRIES} = "9"')
    assert retries() == 9
    with temporary_settings({"FLOWSTONE_HOME": Path(tmp_path / "empty")}) as settings:
        assert retries() == 0
        assert settings.results.local_storage_path == str(tmp_path / "empty" / "storage")


@pytest.mark.parametrize("updates", [{"FLOWSTONE_TASKS_DEFAULT_RETREIS": 1}, {RETRIES: "many"}, {RETRIES: None}])
def test_bad_temporary_settings_are_an_error_and_change_nothing(house, updates):
    with pytest.raises(ConfigurationError):
        with temporary_settings(updates):
            pytest.fail("the block was entered")
    assert retries() == 0


def test_temporary_settings_hold_in_their_thread_and_where_its_context_goes(house):
    seen = {}

    def look(where: str) -> None:
        seen[where] = retries()

    with temporary_settings({RETRIES: 1}):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=look, args=["bare"]),
            threading.Thread(target=context.run, args=[look, "copied"]),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {"bare": 0, "copied": 1}


def test_concurrent_asynchronous_tasks_keep_their_temporary_settings_apart(house):
    async def one(number: int) -> int:
        with temporary_settings({RETRIES: number}):
            await asyncio.sleep(0)
            return retries()

    async def many() -> list[int]:
        return await asyncio.gather(*map(one, range(5)))

    assert asyncio.run(many()) == [0, 1, 2, 3, 4]


def test_threads_that_look_while_the_environment_changes_see_only_values_that_were_set(house, monkeypatch):
    seen: set[int] = set()
    wrong: list[BaseException] = []
    done = threading.Event()

    def watch() -> None:
        try:
            while not done.is_set():
                seen.add(retries())
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        monkeypatch.setenv(RETRIES, str(number))
        assert retries() == number
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert seen <= set(range(40))


def test_nothing_heavy_is_imported_to_read_settings(house):
    house.write_profiles('active = "default"\n[profiles.default]\nFLOWSTONE_TASKS_DEFAULT_RETRIES = "2"\n')
    house.write("pyproject.toml", '[project]\ndependencies = ["flowstone"]\n')
    script = (
        "import sys, types, importlib.util, os\n"
        "package = types.ModuleType('flowstone')\n"  # without what the package itself brings
        f"package.__path__ = [{str(Path(current.__file__).parents[1])!r}]\n"
        "sys.modules['flowstone'] = package\n"
        "before = set(sys.modules)\n"
        "from flowstone.settings import get_current_settings\n"
        "assert get_current_settings().tasks.default_retries == 2\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('flowstone')))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(shown.stdout.split()) <= {"__future__", "contextvars", "_contextvars"}
