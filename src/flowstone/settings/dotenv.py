"""Reads `.env` files: `NAME=value` lines, with quotes, comments and `export`, as other programs read them.

Values are taken as they are written: variables in them are not expanded.
"""

from __future__ import annotations

from flowstone.settings.kinds import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "$": "$", "`": "`"}


def parse_dotenv(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a `.env` file; what is no assignment is passed over."""
    lines = text.replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        name, equals, value = lines[at].partition("=")
        name, value = name.strip().removeprefix("export ").strip(), value.strip()
        at += 1
        if not equals or not name or name.startswith("#"):
            continue
        quoted = _quoted(value, lines, at) if value[:1] in ("'", '"') else None
        if quoted is None:  # no quotes, or never closed: then the rest of the file must not be swallowed
            yield name, _plain(value)
        else:
            value, at = quoted
            yield name, value


def _plain(value: str) -> str:
    if value.startswith("#"):
        return ""
    for space in (" #", "\t#"):
        value = value.partition(space)[0]
    return value.rstrip()


def _quoted(value: str, lines: list[str], at: int) -> tuple[str, int] | None:
    """Return what is between the quotes that `value` starts with and the next line to read, None if they never close.

    The text may go on over the lines from `at` on.
    """
    quote, rest = value[0], value[1:]
    while (end := _closing(rest, quote)) is None:
        if at == len(lines):
            return None
        rest += "\n" + lines[at]
        at += 1
    inside = rest[:end]
    return _unescape(inside) if quote == '"' else inside, at


def _closing(text: str, quote: str) -> int | None:
    escaped = False
    for position, character in enumerate(text):
        if character == quote and not escaped:
            return position
        escaped = character == "\\" and not escaped and quote == '"'
    return None


def _unescape(text: str) -> str:
    pieces = iter(text)
    result = []
    for character in pieces:
        if character == "\\":
            following = next(pieces, "")
            result.append(_ESCAPES.get(following, "\\" + following))
        else:
            result.append(character)
    return "".join(result)
