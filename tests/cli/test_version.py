from __future__ import annotations

import json
import platform
import tomllib
from pathlib import Path

VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]


def test_version_says_what_is_installed_and_where_things_are(run, home):
    lines = dict(line.split(":", 1) for line in run("version").output.splitlines())
    assert {
        name: fact.strip() for name, fact in lines.items() if name in ("flowstone", "Python", "home", "profile")
    } == {
        "flowstone": VERSION,
        "Python": platform.python_version(),
        "home": str(home),
        "profile": "default",
    }


def test_version_as_json(run, home):
    assert json.loads(run("version", "-o", "json").output)["home"] == str(home)


def test_the_option_says_the_version_alone(run):
    assert run("--version").output == f"flowstone {VERSION}\n"
