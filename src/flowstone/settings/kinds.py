"""The kinds of values that settings have: how each is read, what it accepts, and how it is written.

A kind reads what a person typed (always text in the environment, typed values in TOML) and raises ValueError with no
message for anything else: who reports it knows the setting and the place, and says what `accepts` says.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # spares every process that only reads settings the import of typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol, TypeVar

    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)

    class Kind(Protocol[T_co]):
        """`accepts` completes the sentence "It accepts ..."; `name` is the short word for tables."""

        @property
        def name(self) -> str: ...
        @property
        def accepts(self) -> str: ...
        def parse(self, raw: object) -> T_co:
            """Return the value that `raw` means; raises ValueError if it means none."""
            ...

        def write(self, value: object) -> str:
            """Return the text that `parse` reads as `value`."""
            ...

        def keep(self, raw: str) -> str:
            """Return the text to keep in a profile for `raw`, which means the same wherever it is read."""
            ...


_TRUE = frozenset(("1", "true", "yes", "on", "t", "y"))
_FALSE = frozenset(("0", "false", "no", "off", "f", "n"))
_NOTHING = frozenset(("", "none", "null"))
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


class _AsTyped:
    def keep(self, raw: str) -> str:
        return raw


class Boolean(_AsTyped):
    """True or false, in the words people use for them."""

    name = "boolean"
    accepts = "true or false (also 1/0, yes/no, on/off)"

    def parse(self, raw: object) -> bool:
        word = str(raw).strip().lower()
        if isinstance(raw, (bool, str, int)) and word in _TRUE | _FALSE:
            return word in _TRUE
        raise ValueError

    def write(self, value: object) -> str:
        return "true" if value else "false"


class Integer(_AsTyped):
    """A whole number, at least `least`."""

    name = "integer"

    def __init__(self, least: int = 0) -> None:
        self.least = least
        self.accepts = f"a whole number, {least} or more"

    def parse(self, raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, (int, str)):
            raise ValueError
        value = int(raw)
        if value < self.least:
            raise ValueError
        return value

    def write(self, value: object) -> str:
        return str(value)


class Size(Integer):
    """A number of bytes, with a unit if you like."""

    name = "size"

    def __init__(self) -> None:
        super().__init__(0)
        self.accepts = "a number of bytes, 0 or more, or one with a unit (512KB, 256MiB, 1GiB)"

    def parse(self, raw: object) -> int:
        if not isinstance(raw, str):
            return super().parse(raw)
        number = raw.strip().rstrip("KMGiIBbkmg ")
        unit = raw.strip()[len(number) :].strip().upper()
        return super().parse(number) * _UNITS[unit] if unit in _UNITS else super().parse("")


class Delay(_AsTyped):
    """Seconds, or a list of seconds of which the last one repeats; a list is kept as a tuple."""

    name = "seconds"
    accepts = "a number of seconds, 0 or more, or several separated by commas (1, 5, 30)"

    def parse(self, raw: object) -> float | tuple[float, ...]:
        if isinstance(raw, str):
            text = raw.strip()
            listed = text.startswith("[") and text.endswith("]")
            items: Sequence[object] = (text[1:-1] if listed else text).split(",")
            listed = listed or len(items) > 1
        else:
            listed = isinstance(raw, (list, tuple))
            items = raw if isinstance(raw, (list, tuple)) else (raw,)
        delays = tuple(map(self._seconds, items))
        if not delays:
            raise ValueError
        return delays if listed else delays[0]

    def _seconds(self, raw: object) -> float:
        if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
            raise ValueError
        value = float(raw)
        if not 0 <= value < float("inf"):
            raise ValueError
        return int(value) if value.is_integer() else value

    def write(self, value: object) -> str:
        return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)


class Text(_AsTyped):
    """Any text but the empty one."""

    name = "text"
    accepts = "any text that is not empty"

    def parse(self, raw: object) -> str:
        if not isinstance(raw, str) or not raw.strip():
            raise ValueError
        return raw

    def write(self, value: object) -> str:
        return str(value)


class Choice(_AsTyped):
    """One of a few words, whatever their case."""

    name = "choice"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.accepts = "one of " + ", ".join(words)

    def parse(self, raw: object) -> str:
        wanted = str(raw).strip().lower()
        for word in self.words:
            if word.lower() == wanted:
                return word
        raise ValueError

    def write(self, value: object) -> str:
        return str(value)


class Folder(Text):
    """A path, kept absolute; `~` is the user's home, and a relative path starts at the current folder."""

    name = "path"
    accepts = "a path (~ is your home folder; variables like $HOME are not expanded)"

    def parse(self, raw: object) -> str:
        text = super().parse(_plain_path(raw)).strip()
        path = os.path.expanduser(text)
        if path.startswith("~") or "\0" in path or _mentions_variable(path):
            raise ValueError
        return os.path.abspath(path)

    def keep(self, raw: str) -> str:
        return raw if raw.lstrip().startswith("~") else self.parse(raw)


class Location(Folder):
    """A path or the URL of a store."""

    name = "path or URL"
    accepts = "a path or a URL such as s3://bucket/prefix (variables like $HOME are not expanded)"

    def parse(self, raw: object) -> str:
        text = Text.parse(self, _plain_path(raw)).strip()
        if "://" not in text:
            return super().parse(text)
        if "\0" in text or _mentions_variable(text):
            raise ValueError
        return text


class Maybe:
    """What another kind accepts, or nothing."""

    def __init__(self, kind: Kind[object]) -> None:
        self.kind = kind
        self.name = kind.name
        self.words = not isinstance(kind, Text)  # a text may well be "none"
        self.accepts = kind.accepts + (", or none" if self.words else ", or nothing")

    def parse(self, raw: object) -> object:
        if raw is None or (isinstance(raw, str) and raw.strip().lower() in (_NOTHING if self.words else ("",))):
            return None
        return self.kind.parse(raw)

    def write(self, value: object) -> str:
        if value is None:
            return "none" if self.words else ""
        return self.kind.write(value)

    def keep(self, raw: str) -> str:
        return raw if self.parse(raw) is None else self.kind.keep(raw)


def maybe(kind: Kind[T]) -> Kind[T | None]:
    """Return the kind that accepts nothing, too."""
    return Maybe(kind)  # type: ignore[return-value]


def _plain_path(raw: object) -> object:
    return os.fspath(raw) if isinstance(raw, os.PathLike) else raw


def _mentions_variable(text: str) -> bool:
    # A folder really called "$HOME" helps nobody: say so instead of making one.
    return any(after[:1] == "{" or after[:1].isalpha() or after[:1] == "_" for after in text.split("$")[1:])


BOOLEAN = Boolean()
COUNT = Integer(0)
POSITIVE = Integer(1)
SIZE = Size()
DELAY = Delay()
TEXT = Text()
FOLDER = Folder()
LOCATION = Location()
