from __future__ import annotations

import json
import platform
import tomllib
from pathlib import Path

from flowstone.hashing import KEY_FORMAT
from flowstone.records import FORMAT

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


def test_version_as_json_says_the_formats(run, home):
    facts = json.loads(run("version", "-o", "json").output)
    assert (facts["home"], facts["key_format"], facts["record_format"]) == (str(home), str(KEY_FORMAT), str(FORMAT))


def test_the_option_says_the_version_alone(run):
    assert run("--version").output == f"flowstone {VERSION}\n"
