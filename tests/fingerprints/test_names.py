"""Names that people know, and names that no version or platform changes."""

from __future__ import annotations

import functools
import io
import json
import os
import pathlib
import types

import pytest

from flowstone.fingerprints.names import code_name, public_module, public_name, shown_value


class Named:
    def method(self):
        pass


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (json.dumps, "json.dumps"),
        (json.JSONEncoder, "json.encoder.JSONEncoder"),
        (json.JSONEncoder().encode, "json.encoder.JSONEncoder.encode"),
        (json, "json"),
        (len, "builtins.len"),
        (functools.partial(len), "functools.partial"),
        (3, "builtins.int"),
        (types.FunctionType((lambda: 1).__code__, {}), "<lambda>"),
    ],
)
def test_code_is_called(value, name):
    assert code_name(value).endswith(name)


def test_a_task_is_called_like_its_function():
    from flowstone import task

    assert code_name(task(json.dumps)) == "json.dumps"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posixpath", "os.path"),
        ("ntpath", "os.path"),
        ("nt", "os"),
        ("_io", "io"),
        ("_pydecimal", "decimal"),
        ("pathlib._local", "pathlib"),
        ("_thread", "_thread"),
        ("json.decoder", "json.decoder"),
        ("numpy._core", "numpy._core"),
    ],
)
def test_modules_of_the_standard_library_have_their_public_names(module, name):
    assert public_module(module) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (os.path.join, "os.path.join"),
        (io.StringIO, "io.StringIO"),
        (pathlib.Path, "pathlib.Path"),
        (os.getcwd, "os.getcwd"),
    ],
)
def test_what_is_in_them_too(value, name):
    assert public_name(value) == name


def test_values_are_shown_short_and_secrets_not_at_all():
    assert shown_value("limit", 3) == "3"
    assert len(shown_value("names", ["a"] * 1000)) == 200
    assert shown_value("module.API_KEY", "x") == "<hidden str>"
    assert shown_value("job.step(password=)", "x") == "<hidden str>"
