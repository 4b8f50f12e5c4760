"""Finding what in a value cannot be written, so that an error can say where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final

from flowstone.exceptions import SerializationError

_DEEP_ENOUGH: Final = 20
_WIDE_ENOUGH: Final = 10_000
_ATOMS: Final = (int, float, complex, str, bytes, bool, type(None))


def cannot_write(
    serializer: str, value: object, why: Exception | str, can_write: Callable[[object], bool] | None = None
) -> SerializationError:
    """Return the error that says what in `value` cannot be written, why, and with `can_write` where it is."""
    path, culprit = find_culprit(value, can_write) if can_write else ("", value)
    where = f"value{path} ({_name(culprit)})" if path else _name(culprit)
    reason = why if isinstance(why, str) else _told(why)
    return SerializationError(f"{where} cannot be written with the serializer {serializer!r}: {reason}.")


def find_culprit(value: object, can_write: Callable[[object], bool]) -> tuple[str, object]:
    """Return the path to the innermost part of `value` that cannot be written, and that part."""
    path, culprit, seen = "", value, {id(value)}
    for _ in range(_DEEP_ENOUGH):
        for step, child in _children(culprit):
            if id(child) not in seen and not isinstance(child, _ATOMS) and not can_write(child):
                path, culprit = path + step, child
                seen.add(id(child))
                break
        else:
            break
    return path, culprit


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        pairs = list(value.items())[:_WIDE_ENOUGH]
        yield from ((f"[{_short(key)}]", child) for key, child in pairs)
        yield from ((f".keys()[{index}]", key) for index, (key, _) in enumerate(pairs))
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", child) for index, child in enumerate(value[:_WIDE_ENOUGH]))
    elif isinstance(value, set | frozenset):
        yield from (("{...}", child) for child in value)
    elif not isinstance(value, type | ModuleType):
        state = getattr(value, "__dict__", None)
        if isinstance(state, dict):
            yield from ((f".{name}", child) for name, child in list(state.items()))


def _told(error: Exception) -> str:
    text = str(error).rstrip(".")
    return text if isinstance(error, SerializationError) else f"{type(error).__name__}: {text}"


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 40 else text[:37] + "..."


def _name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
