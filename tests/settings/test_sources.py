from __future__ import annotations

import errno
import os

import pytest

from flowstone.exceptions import ConfigurationError
from flowstone.settings import reload_settings, sources
from flowstone.settings.sources import Files, dotenv_layer, environment_layer, look, pyproject_layer, table_layer

RETRIES = "FLOWSTONE_TASKS_DEFAULT_RETRIES"
STORAGE = "FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH"
OLD_STORAGE = "FLOWSTONE_LOCAL_STORAGE_PATH"


def refuse(*args: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def raws(layer):
    return {name: raw for name, (raw, _) in layer.entries.items()}


def test_the_environment_layer_holds_our_variables_and_no_others():
    layer = environment_layer({"PATH": "/bin", RETRIES: "2", "FLOWSTONE_HISTORY_ENABLED": ""})
    assert raws(layer) == {RETRIES: "2"}
    assert layer.complaints == {}


@pytest.mark.parametrize(
    "name",
    [
        "FLOWSTONE_TEST_ROUNDS",
        "FLOWSTONE__RUNTIME__TASK_RUN__NAME",
        "FLOWSTONE_SERVICE_HOST",
        "FLOWSTONE_SERVICE_PORT_HTTP",
        "FLOWSTONE_PORT",
        "FLOWSTONE_PORT_80_TCP_ADDR",
        "FLOWSTONE_DB_SERVICE_HOST",
    ],
)
def test_variables_that_others_make_are_no_misspelt_settings(name):
    assert environment_layer({name: "1"}).complaints == {}


def test_a_misspelt_variable_is_complained_of_with_what_was_meant():
    layer = environment_layer({"FLOWSTONE_TASKS_DEFAULT_RETREIS": "2"})
    assert list(layer.complaints) == ["FLOWSTONE_TASKS_DEFAULT_RETREIS"]
    assert f"Did you mean {RETRIES!r}?" in layer.complaints["FLOWSTONE_TASKS_DEFAULT_RETREIS"]


def test_an_old_name_works_and_gives_way_to_the_new_one():
    assert raws(environment_layer({OLD_STORAGE: "/old"})) == {STORAGE: "/old"}
    assert raws(environment_layer({OLD_STORAGE: "/old", STORAGE: "/new"})) == {STORAGE: "/new"}
    assert raws(environment_layer({STORAGE: "/new", OLD_STORAGE: "/old"})) == {STORAGE: "/new"}


def test_a_dotenv_layer_passes_over_what_is_not_ours():
    layer = dotenv_layer(
        ".env", b"\xef\xbb\xbfSECRET='\xff'\nFLOWSTONE_TASKS_DEFAULT_RETRIES=2\nFLOWSTONE_UI_PROGRESS=\n"
    )
    assert raws(layer) == {RETRIES: "2"}
    assert layer.complaints == {}


def test_a_table_may_be_nested_dotted_or_flat():
    table = {"tasks": {"default_retries": 1, "runner": {"thread-pool-max-workers": 4}}, "FLOWSTONE_UI_PROGRESS": "on"}
    assert raws(table_layer(table, "flowstone.toml", "p")) == {
        RETRIES: 1,
        "FLOWSTONE_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS": 4,
        "FLOWSTONE_UI_PROGRESS": "on",
    }


def test_a_misspelt_key_of_a_table_is_complained_of_by_its_path():
    layer = table_layer({"tasks": {"default_retreis": 1}, "reslts": 2}, "flowstone.toml", "p.toml")
    assert list(layer.complaints) == ["tasks.default_retreis", "reslts"]
    assert "tasks.default_retreis in p.toml" in layer.complaints["tasks.default_retreis"]
    assert "Did you mean 'tasks.default_retries'?" in layer.complaints["tasks.default_retreis"]


@pytest.mark.parametrize(
    "text",
    [
        "[tool.flowstone.tasks]\ndefault_retries = 2",
        "[tool.flowstone]\ntasks.default_retries = 2",
        "[tool]\nflowstone.tasks.default_retries = 2",
        "[ tool . flowstone ]\ntasks.default_retries = 2",
        '[tool."flowstone"]\ntasks.default_retries = 2',
        "tool = { flowstone = { tasks = { default_retries = 2 } } }",
        "tool.flowstone.tasks.default_retries = 2",
    ],
)
def test_the_table_of_a_pyproject_is_found_however_it_is_written(text):
    assert raws(pyproject_layer("p", text.encode())) == {RETRIES: 2}


def test_a_pyproject_without_our_table_is_not_even_parsed():
    assert raws(pyproject_layer("p", b'[project]\ndependencies = ["flowstone"]\n[tool.ruff\n')) == {}


@pytest.mark.parametrize("text", [b"[tool.flowstone", b"[tool]\nflowstone = 3", b"[tool.flowstone]\nx = '\xff'"])
def test_a_broken_table_is_an_error_that_names_the_file(text):
    with pytest.raises(ConfigurationError, match=r"/x/pyproject\.toml"):
        pyproject_layer("/x/pyproject.toml", text)


def test_only_a_regular_file_is_looked_at(tmp_path):
    (tmp_path / ".env").mkdir()
    assert look(str(tmp_path / ".env")) is None
    assert Files().read(str(tmp_path / ".env")) is None


@pytest.mark.parametrize("change", ["write", "replace", "remove", "create"])
def test_files_notice_a_change(tmp_path, change):
    path, other = tmp_path / "a.toml", tmp_path / "b.toml"
    path.write_text("1")
    files = Files()
    files.read(str(path))
    files.read(str(other))
    assert not files.changed()
    if change == "write":
        path.write_text("22")
    elif change == "replace":
        (tmp_path / "c").write_text("2")
        os.replace(tmp_path / "c", path)
    elif change == "remove":
        path.unlink()
    else:
        other.write_text("1")
    assert files.changed()


def test_a_barred_file_is_an_error_that_names_it(tmp_path, monkeypatch):
    path = tmp_path / "a.toml"
    path.write_text("1")
    monkeypatch.setattr(sources, "open", refuse, raising=False)
    with pytest.raises(ConfigurationError, match=r"a\.toml cannot be read: Permission denied"):
        Files().read(str(path))


def test_a_file_removed_between_look_and_read_is_none(tmp_path, monkeypatch):
    path = tmp_path / "a.toml"
    path.write_text("1")

    def vanish(*args: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(sources, "open", vanish, raising=False)
    assert Files().read(str(path)) is None


@pytest.mark.parametrize(("name", "harm"), [(".env", False), ("pyproject.toml", False), ("flowstone.toml", True)])
def test_a_barred_file_does_harm_only_if_it_is_ours_alone(house, monkeypatch, caplog, name, harm):
    (house.work / name).write_text("")
    monkeypatch.setattr(sources, "open", refuse, raising=False)
    if harm:
        with pytest.raises(ConfigurationError, match=r"flowstone\.toml cannot be read"):
            reload_settings()
    else:
        reload_settings()
        assert f"{name} cannot be read" in caplog.text
