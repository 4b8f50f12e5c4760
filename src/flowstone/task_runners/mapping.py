"""From one `map` call to the calls it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from io import IOBase
from typing import Any

from flowstone.annotations import allow_failure, quote, unmapped
from flowstone.engine.bind import Binder
from flowstone.exceptions import MappingLengthMismatch, MappingMissingIterable
from flowstone.futures import FlowstoneFuture
from flowstone.states import State


def calls_of(
    name: str, binder: Binder, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments of each call, in order.

    Iterables are taken apart, except text, bytes and what is `unmapped`; defaults are never mapped. A future or state
    stands for its result. Raises MappingMissingIterable and MappingLengthMismatch.
    """
    binder(tuple(map(_plain, args)), {key: _plain(value) for key, value in kwargs.items()})  # tells what does not fit
    positions = [_Column(value) for value in args]
    keywords = {key: _Column(value) for key, value in kwargs.items()}
    length = _common_length(name, binder, positions, keywords)
    return _rows(positions, keywords, length)


def _common_length(name: str, binder: Binder, positions: list[_Column], keywords: dict[str, _Column]) -> int:
    named = {**dict(zip(_position_names(binder, len(positions)), positions)), **keywords}
    lengths = {key: column.length for key, column in named.items() if column.length is not None}
    if not lengths:
        raise MappingMissingIterable(
            f"{name}.map() got nothing to map over; give at least one list, tuple or other iterable."
        )
    if len(set(lengths.values())) > 1:
        raise MappingLengthMismatch(
            f"{name}.map() got iterables of different lengths: {lengths}; "
            "make them equal, or wrap what every call shall get whole in unmapped(...)."
        )
    return next(iter(lengths.values()))


def _position_names(binder: Binder, count: int) -> list[str]:
    named = [each for each in binder.names if each not in (binder.var_positional, binder.var_keyword)]
    return [named[index] if index < len(named) else f"{binder.var_positional}[{index}]" for index in range(count)]


def _rows(
    positions: list[_Column], keywords: dict[str, _Column], length: int
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for index in range(length):
        yield (
            tuple(column.at(index) for column in positions),
            {key: column.at(index) for key, column in keywords.items()},
        )


class _Column:
    """One argument of a map: `length` is None for one that every call gets whole."""

    __slots__ = ("_mark", "_values", "_whole", "length")

    def __init__(self, value: Any) -> None:
        self._mark: Any = None
        self._whole = value
        self._values: Any = None
        self.length: int | None = None
        if isinstance(value, unmapped):
            self._whole = value.unwrap()
            return
        if isinstance(value, allow_failure | quote):
            self._mark, value = value, value.unwrap()
        if isinstance(value, FlowstoneFuture | State):
            value = value.result()
        if _can_be_mapped(value):
            self._values = value if hasattr(value, "__getitem__") and not hasattr(value, "keys") else list(value)
            self._values = self._values if hasattr(self._values, "__len__") else list(self._values)
            self._values = list(self._values) if hasattr(self._values, "iloc") else self._values
            self.length = len(self._values)

    def at(self, index: int) -> Any:
        if self.length is None:
            return self._whole
        value = self._values[index]
        return value if self._mark is None else self._mark.rewrap(value)


def _can_be_mapped(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | IOBase):
        return False
    try:
        iter(value)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    return value.unwrap() if isinstance(value, unmapped) else value
