from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.settings.kinds import BOOLEAN, COUNT, DELAY, FOLDER, LOCATION, POSITIVE, SIZE, TEXT, Choice, maybe

LEVEL = Choice("DEBUG", "INFO")


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        *[(BOOLEAN, raw, True) for raw in ("1", "true", "True", "YES", "on", "t", " y ", True, 1)],
        *[(BOOLEAN, raw, False) for raw in ("0", "false", "FALSE", "no", "off", "f", "n", False, 0)],
        (COUNT, "3", 3),
        (COUNT, 0, 0),
        (POSITIVE, " 4 ", 4),
        (SIZE, "512", 512),
        (SIZE, "1KB", 1000),
        (SIZE, "256 MiB", 256 << 20),
        (SIZE, "2gib", 2 << 30),
        (SIZE, 7, 7),
        (DELAY, "1.5", 1.5),
        (DELAY, 2, 2),
        (DELAY, "1, 5,30", (1, 5, 30)),
        (DELAY, "[0.5]", (0.5,)),
        (DELAY, [1, 2.5], (1, 2.5)),
        (TEXT, "pickle", "pickle"),
        (LEVEL, "debug", "DEBUG"),
        (LOCATION, "s3://bucket/a/../b", "s3://bucket/a/../b"),
        (maybe(BOOLEAN), "none", None),
        (maybe(BOOLEAN), "", None),
        (maybe(BOOLEAN), None, None),
        (maybe(BOOLEAN), "off", False),
        (maybe(POSITIVE), "Null", None),
        (maybe(TEXT), "none", "none"),
        (maybe(TEXT), "", None),
    ],
)
def test_a_kind_reads_what_people_write(kind, raw, value):
    read = kind.parse(raw)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        *[(BOOLEAN, raw) for raw in ("", "2", "yess", 2, None, 1.0, [True])],
        *[(COUNT, raw) for raw in ("-1", "1.0", "", "x", True, 1.0, None, "9" * 5000)],
        (POSITIVE, 0),
        *[(SIZE, raw) for raw in ("MiB", "1 XiB", "-1", "1.5MiB", "", None, "1 K B")],
        *[(DELAY, raw) for raw in ("", "-1", "nan", "inf", "1,,2", "[]", [], ["a"], True, None, "1;2")],
        *[(TEXT, raw) for raw in ("", "  ", 3, None)],
        *[(LEVEL, raw) for raw in ("", "LOUD", 10, None)],
        *[(FOLDER, raw) for raw in ("", "$HOME/x", "${HOME}/x", "~nobody-of-this-name/x", "a\0b", 3, None)],
        *[(LOCATION, raw) for raw in ("", "s3://$BUCKET/x", "$HOME/x", None)],
    ],
)
def test_a_kind_refuses_what_means_nothing_to_it(kind, raw):
    with pytest.raises(ValueError):
        kind.parse(raw)


def test_a_path_becomes_absolute_and_knows_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    assert FOLDER.parse("a/../b") == str(tmp_path / "b")
    assert FOLDER.parse("~/x") == str(tmp_path / "me" / "x")
    assert FOLDER.parse(Path("c")) == str(tmp_path / "c")
    assert LOCATION.parse("d") == str(tmp_path / "d")
    assert FOLDER.parse("price$/5$") == str(tmp_path / "price$" / "5$")


def test_a_path_kept_in_a_profile_means_the_same_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert FOLDER.keep("store") == str(tmp_path / "store")
    assert FOLDER.keep("~/store") == "~/store"
    assert LOCATION.keep("s3://bucket/x") == "s3://bucket/x"
    assert maybe(LOCATION).keep("store") == str(tmp_path / "store")
    assert maybe(LOCATION).keep("") == ""
    assert BOOLEAN.keep("Yes") == "Yes"


def absolute(text: str) -> str:
    return os.path.abspath(os.sep + text)


SEGMENTS = st.text(st.characters(codec="utf-8", exclude_characters="\0$~/\\:"), min_size=1).filter(str.strip)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (BOOLEAN, st.booleans()),
        (COUNT, st.integers(0)),
        (SIZE, st.integers(0)),
        (
            DELAY,
            st.floats(0, 1e9) | st.tuples(st.floats(0, 1e9)) | st.lists(st.integers(0, 10**9), min_size=1).map(tuple),
        ),
        (TEXT, st.text(min_size=1).filter(str.strip)),
        (LEVEL, st.sampled_from(LEVEL.words)),
        (FOLDER, SEGMENTS.map(str.strip).map(absolute)),
        (maybe(POSITIVE), st.none() | st.integers(1)),
        (maybe(TEXT), st.none() | st.text(min_size=1).filter(str.strip)),
    ],
    ids=lambda it: getattr(it, "name", ""),
)
def test_what_a_kind_writes_it_reads_as_the_same_value(kind, values):
    @given(values)
    def law(value):
        assert kind.parse(kind.write(value)) == value

    law()
