"""Tables are plain columns for programs and fit the terminal of a person; nothing in a cell is taken for a command."""

from __future__ import annotations

import json

import pytest

from flowstone.cli import tables
from flowstone.cli.tables import Column, printable, show_facts, show_json, show_table

COLUMNS = (Column("key", whole=True), Column("size", right=True), Column("task"))
ROWS = [("a" * 20, "1 B", "load"), ("b", "12 KB", "[red]x[/red]")]


def test_a_program_gets_plain_columns_without_anything_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(COLUMNS, [*ROWS, ("c" * 300, "1 B", "")])
    lines = capsys.readouterr().out.splitlines()

    assert lines[1].split() == ["a" * 20, "1", "B", "load"]
    assert lines[2].endswith("12 KB  [red]x[/red]")
    assert lines[3].startswith("c" * 300)
    assert not any(line.endswith(" ") for line in lines)


def test_a_person_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "for_person", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    show_table(COLUMNS, ROWS)
    shown = capsys.readouterr().out

    assert "─" in shown
    assert "a" * 20 in shown
    assert "[red]x[/red]" in shown  # no markup


@pytest.mark.parametrize("person", [False, True])
def test_what_would_move_the_cursor_is_shown_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, person: bool
) -> None:
    monkeypatch.setattr(tables, "for_person", lambda: person)
    show_table((Column("task"),), [("\x1b[2Jgone\r\n",)])
    show_facts([("task", "\x1b]0;title\x07")])
    shown = capsys.readouterr().out

    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "\\x1b[2Jgone\\r\\n" in shown


def test_what_can_be_printed_is_printed_as_it_is() -> None:
    assert printable("größe [x] 表") == "größe [x] 表"


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"a": ["ü\x1b", None, 1.5]})
    assert json.loads(capsys.readouterr().out) == {"a": ["ü\x1b", None, 1.5]}
