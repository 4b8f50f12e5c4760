"""Whose code a module is."""

from __future__ import annotations

import importlib
import sys
import types

import pytest

from flowstone._version import VERSION
from flowstone.fingerprints import Boundary, code_fingerprint, territory
from flowstone.fingerprints.territory import Territory, territory_of, territory_of_unloaded

USUAL = Boundary()


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(territory, "_modules", {})
    monkeypatch.setattr(territory, "_folders", {})


def whose(name: str, boundary: Boundary = USUAL) -> Territory:
    return territory_of(name, boundary)


@pytest.mark.parametrize(
    "name", ["sys", "math", "os", "json", "json.decoder", "importlib._bootstrap", "_thread", "posixpath"]
)
def test_the_standard_library_is_known_without_a_version(name):
    importlib.import_module(name)
    assert whose(name) == Territory("stdlib")
    assert territory_of_unloaded(name, USUAL) == Territory("stdlib")


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("pytest", "pytest"),
        ("_pytest.assertion", "pytest"),
        ("hypothesis.strategies", "hypothesis"),
        ("blake3", "blake3"),
    ],
)
def test_installed_distributions_are_known_by_name_and_version(name, distribution):
    from importlib.metadata import version

    importlib.import_module(name)
    assert whose(name) == Territory("distribution", distribution, version(distribution))


def test_flowstone_is_a_distribution_also_where_it_is_installed_in_editable_mode():
    assert whose("flowstone.fingerprints") == Territory("distribution", "flowstone", VERSION)


def test_scripts_and_projects_are_the_users_own(project):
    project.write("mine.py", "")
    project.write("package/__init__.py", "")
    project.write("package/inner.py", "")
    project.write("spread/inner.py", "")
    project.load("mine"), project.load("package.inner"), project.load("spread.inner")

    for name in (
        "__main__",
        "__mp_main__",
        "mine",
        "package",
        "package.inner",
        "spread",
        "spread.inner",
        "",
        "made.up",
    ):
        assert whose(name).kind == "own", name
    sys.modules["made_up"] = types.ModuleType("made_up")
    assert whose("made_up").kind == "own"
    del sys.modules["made_up"]


def test_a_module_of_ones_own_may_be_called_like_one_of_the_standard_library(project, monkeypatch):
    project.write("this.py", "")
    monkeypatch.delitem(sys.modules, "this", raising=False)
    project.load("this")

    assert whose("this").kind == "own"
    monkeypatch.delitem(sys.modules, "this")


def install(project, folder: str, *, listed: str, name: str = "Some_Tool", version: str = "1.2") -> None:
    record = "".join(f"{path},sha256=x,1\n" for path in listed.split())
    project.write(f"{folder}/{name}-{version}.dist-info/RECORD", record)


def test_a_folder_of_installed_packages_is_known_by_its_metadata(project, monkeypatch):
    """As `pip install --target` makes it."""
    project.write("vendor/some_tool/__init__.py", "")
    project.write("vendor/other_name.py", "")
    project.write("vendor/spread/part/__init__.py", "")
    project.write("vendor/loose.py", "")
    install(project, "vendor", listed="some_tool/__init__.py other_name.py spread/part/__init__.py")
    monkeypatch.syspath_prepend(str(project.folder / "vendor"))
    for name in ("some_tool", "other_name", "spread.part", "loose"):
        project.load(name)

    tool = Territory("distribution", "some-tool", "1.2")
    assert [whose(name) for name in ("some_tool", "other_name", "spread.part")] == [tool] * 3
    assert whose("loose").kind == "own"


def test_an_editable_distribution_is_the_users_own(project, monkeypatch):
    project.write("site-packages/my_tool-1.0.dist-info/RECORD", "__editable__.my_tool-1.0.pth,,\n")
    project.write("src/my_tool/__init__.py", "")
    monkeypatch.syspath_prepend(str(project.folder / "site-packages"))
    monkeypatch.syspath_prepend(str(project.folder / "src"))
    project.load("my_tool")

    assert whose("my_tool").kind == "own"


def test_another_version_of_a_distribution_is_another_fingerprint(project, monkeypatch):
    project.write("vendor/some_tool/__init__.py", "def scale(x):\n    return x\n")
    project.write("job.py", "import some_tool\n\ndef step(x):\n    return some_tool.scale(x)\n")
    monkeypatch.syspath_prepend(str(project.folder / "vendor"))

    def installed(version: str):
        monkeypatch.setattr(territory, "_modules", {})
        monkeypatch.setattr(territory, "_folders", {})
        install(project, "vendor", listed="some_tool/__init__.py", version=version)
        project.load("some_tool")
        found = code_fingerprint(project.load("job").step)
        (project.folder / "vendor" / f"Some_Tool-{version}.dist-info" / "RECORD").unlink()
        (project.folder / "vendor" / f"Some_Tool-{version}.dist-info").rmdir()
        return found

    one, other = installed("1.2"), installed("1.3")
    assert one.digest != other.digest
    assert [(part.name, part.text) for part in one.parts[1:]] == [("some-tool", "1.2")]
    assert installed("1.2").digest == one.digest


def test_modules_nobody_imported_are_not_imported_to_be_known(project):
    project.write("broken.py", "raise ValueError")
    before = set(sys.modules)

    assert territory_of_unloaded("broken", USUAL).kind == "own"
    assert territory_of_unloaded("broken.inner", USUAL).kind == "own"
    assert territory_of_unloaded("there_is_no_such", USUAL) is None
    assert "broken" not in set(sys.modules) - before


BOUNDARIES = [
    (Boundary(exclude=("mine",)), {"mine": "excluded", "mine.inner": "excluded", "minefield": "own"}),
    (Boundary(exclude=("mine",), include=("mine.inner",)), {"mine": "excluded", "mine.inner": "own"}),
    (Boundary(include=("json",), exclude=("json.decoder",)), {"json": "own", "json.decoder": "excluded"}),
    (Boundary(include=("json.decoder",)), {"json": "stdlib", "json.decoder": "own"}),
]


@pytest.mark.parametrize(("boundary", "expected"), BOUNDARIES)
def test_the_longest_name_that_fits_decides(boundary, expected):
    import json.decoder  # noqa: F401

    assert {name: whose(name, boundary).kind for name in expected} == expected


def test_boundaries_are_values():
    assert Boundary(("a",)) == Boundary(["a"])
    assert hash(Boundary(("a",))) == hash(Boundary(("a",)))
    assert Boundary(("a",)) != Boundary((), ("a",))
    assert Boundary() != "a boundary"
    assert eval(repr(Boundary(("a",), ("b",)))) == Boundary(("a",), ("b",))
