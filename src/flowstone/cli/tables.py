"""Printing for people and for programs: tables with colours on a terminal, plain columns elsewhere, JSON on demand."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click


class Column(NamedTuple):
    """A column of a table. `whole` is never cut; `style` is a colour of the terminal."""

    name: str
    right: bool = False
    whole: bool = False
    style: str = ""


def for_person() -> bool:
    """Say whether a person sits at the other end of standard output."""
    return sys.stdout.isatty()


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts: as a table that fits the terminal, or in plain columns of full width."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if for_person():
        _show_rich(columns, rows)
    else:
        _show_plain(columns, rows)


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, one a line."""
    width = max((len(name) for name, _ in facts), default=0) + 2
    for name, fact in facts:
        click.echo(f"{click.style(f'{name}:'.ljust(width), bold=True)}{printable(fact)}")


def show_json(data: object) -> None:
    click.echo(json.dumps(data, indent=2, allow_nan=False, default=str))


def printable(text: str) -> str:
    """Return the text with what is not to be printed escaped: names in records could be anything."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def _show_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=column.right or column.whole,
            overflow="fold" if column.whole else "ellipsis",
            style=column.style,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as they are: a name in brackets is no markup
    Console().print(table)


def _show_plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    lines = [[column.name for column in columns], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        cells = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns)
        )
        click.echo("  ".join(cells).rstrip())
