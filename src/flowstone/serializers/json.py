"""JSON for exactly what JSON can give back: no tuple returns as a list, and no user's dict is read as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from flowstone.exceptions import SerializationError
from flowstone.serializers.base import Buffer, Serializer

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_TEXT: Final = frozenset({str})
_encode: Final = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode
_decode: Final = json.JSONDecoder().decode


class JSONSerializer(Serializer):
    """Writes dicts with text keys, lists, texts, numbers, booleans and None, of exactly these types; refuses the rest.

    Numbers come back exactly as they were, also infinities and not-a-number, which are spelt as Python's json does.
    Reading cannot execute code.
    """

    type = "json"
    safe = True

    def dumps(self, obj: object) -> bytes:
        try:
            _check(obj)
            return _encode(obj).encode("ascii")
        except RecursionError:
            raise SerializationError("The value is nested too deeply, or holds itself; JSON cannot say that.") from None
        except ValueError as error:  # an integer of more digits than Python is willing to print
            raise SerializationError(f"The value cannot be written as JSON: {error}.") from error

    def loads(self, blob: bytes) -> object:
        return _decode(str(blob, "ascii"))

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        return _decode(str(main, "ascii"))


def can_be_json(obj: object) -> bool:
    """Say whether JSON gives `obj` back as it was."""
    try:
        _check(obj)
    except (SerializationError, RecursionError):
        return False
    return True


def _check(obj: object) -> None:
    """Raise SerializationError for the first part of `obj` that would not come back as it was."""
    kind = type(obj)
    if kind in _ATOMS:
        return
    if kind is list:
        items: list[object] = obj  # type: ignore[assignment]
        if not _ATOMS.issuperset(map(type, items)):
            _check_items(items)
    elif kind is dict:
        entries: dict[object, object] = obj  # type: ignore[assignment]
        if not _TEXT.issuperset(map(type, entries)):
            _refuse_key(entries)
        if not _ATOMS.issuperset(map(type, entries.values())):
            _check_entries(entries)
    else:
        raise _Refused(obj, "")


def _check_items(items: list[object]) -> None:
    for index, item in enumerate(items):
        try:
            _check(item)
        except _Refused as refused:
            raise refused.at(f"[{index}]") from None


def _check_entries(entries: dict[object, object]) -> None:
    for key, value in entries.items():
        try:
            _check(value)
        except _Refused as refused:
            raise refused.at(f"[{key!r}]") from None


def _refuse_key(entries: dict[object, object]) -> None:
    key = next(key for key in entries if type(key) is not str)
    raise _Refused(key, f".keys() {key!r}")


class _Refused(SerializationError):
    """What cannot be written; learns on its way up where in the value it is."""

    def __init__(self, culprit: object, path: str) -> None:
        kind = type(culprit)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        super().__init__(
            f"value{path} is a {name}, which JSON does not give back as it was; "
            "return dicts with text keys, lists, texts, numbers, booleans and None, or use another serializer."
        )
        self.culprit = culprit
        self.path = path

    def at(self, step: str) -> _Refused:
        return _Refused(self.culprit, step + self.path)

    def __reduce__(self) -> tuple[object, ...]:
        return SerializationError, self.args
