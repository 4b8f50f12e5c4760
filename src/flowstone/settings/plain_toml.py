"""Reads the plain TOML that flowstone itself writes, without the parser that takes as long to load as Python does."""

from __future__ import annotations

_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_SPACE = " \t"  # nothing else is white space inside of a line of TOML


def parse_plain(content: bytes) -> dict[str, object] | None:
    """Return the tables of a TOML file, or None if anything in it is not of the plainest form.

    Plain is: comments on their own lines, `[a.b]` headers of bare keys, each once, and `bare_key = "text"` with nothing
    after it and nothing escaped in it.
    """
    try:
        lines = content.decode("ascii").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        return None
    document: dict[str, object] = {}
    table = document
    for line in (line.strip(_SPACE) for line in lines):
        if not line or (line.startswith("#") and line.isprintable()):
            continue
        opened = _open_table(document, line) if line.startswith("[") else _assign(table, line)
        if opened is None:
            return None
        table = opened
    return document


def _open_table(document: dict[str, object], line: str) -> dict[str, object] | None:
    *above, last = line[1:-1].split(".")
    if line[-1] != "]" or not all(key and _BARE.issuperset(key) for key in (*above, last)):
        return None
    table = document
    for key in above:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            return None
        table = inner
    if last in table:
        return None
    new: dict[str, object] = {}
    table[last] = new
    return new


def _assign(table: dict[str, object], line: str) -> dict[str, object] | None:
    key, equals, value = line.partition("=")
    key, value = key.strip(_SPACE), value.strip(_SPACE)
    quoted = len(value) >= 2 and value[0] == value[-1] == '"'
    if not equals or not key or not _BARE.issuperset(key) or key in table or not quoted:
        return None
    text = value[1:-1]
    if '"' in text or "\\" in text or not text.isprintable():
        return None
    table[key] = text
    return table
