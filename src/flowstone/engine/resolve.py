"""Futures, states and marks in arguments become the values they stand for.

The search costs one pass at the speed of C over containers of plain values, and gives back the very same objects where
there was nothing to resolve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

from flowstone.annotations import allow_failure, opaque, quote, unmapped
from flowstone.effects import Blocking
from flowstone.exceptions import UpstreamTaskError
from flowstone.states import State
from flowstone.upstream import Upstream

PLAIN: Final[frozenset[type]] = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, range, type, memoryview}
)
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset})
_CONTAINERS: Final = _SEQUENCES | {dict}
_MARKS: Final = (quote, opaque, allow_failure, unmapped)
_NOTHING: Final[Any] = MappingProxyType({})


async def resolve(
    args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with everything resolved; waits for what is not ready.

    Raises UpstreamTaskError if an upstream did not complete and is not under `allow_failure`.
    """
    if wait_for is not None:
        await _settle(list(wait_for))
        resolve_value(list(wait_for))
    if PLAIN.issuperset(map(type, args)) and (not kwargs or PLAIN.issuperset(map(type, kwargs.values()))):
        return args, kwargs  # the usual call, answered without a frame
    if not (holds_upstream(args) or (kwargs and holds_upstream(kwargs))):
        return args, kwargs
    await _settle([args, kwargs])
    return tuple(map(resolve_value, args)), {name: resolve_value(value) for name, value in kwargs.items()}


def holds_upstream(value: Any) -> bool:
    """Say whether anything in `value` has to be resolved."""
    level: Iterable[Any] = (value,)
    seen: set[int] = set()
    while True:
        kinds = set(map(type, level))
        if kinds <= PLAIN:
            return False
        if any(_is_upstream(kind) for kind in kinds - PLAIN):
            return True
        nested = [item for item in level if type(item) not in PLAIN and id(item) not in seen]
        seen.update(map(id, nested))
        inside = [contents for item in nested if (contents := _contents(item))]
        if not inside:
            return False
        level = inside[0] if len(inside) == 1 else list(chain.from_iterable(inside))


def _is_upstream(kind: type) -> bool:
    return issubclass(kind, (Upstream, State, *_MARKS))


def _contents(item: Any) -> Any:
    kind = type(item)
    if kind is dict:
        return item.values() if set(map(type, item)) <= PLAIN else [*item, *item.values()]
    if isinstance(item, list | tuple | set | frozenset):
        return item
    if isinstance(item, dict):
        return list(item.values())
    if _is_dataclass(kind):
        return [getattr(item, name, None) for name in kind.__dataclass_fields__]
    return ()


def _is_dataclass(kind: Any) -> bool:
    return hasattr(kind, "__dataclass_fields__")


def upstreams_in(value: Any) -> list[Upstream]:
    """Return every future anywhere in `value`."""
    found: list[Upstream] = []
    if holds_upstream(value):
        _visit(value, found.append)
    return found


async def _settle(value: Any) -> None:
    """Wait for every future in `value`."""
    for upstream in upstreams_in(value):
        if not upstream.state.is_final():
            await Blocking(upstream.wait, twin=upstream.wait_async)


def _visit(value: Any, found: Callable[[Upstream], object], seen: set[int] | None = None) -> None:
    if isinstance(value, Upstream):
        found(value)
    elif isinstance(value, allow_failure | opaque | unmapped):
        _visit(value.unwrap(), found, seen) if not isinstance(value, opaque) else _visit_top(value.unwrap(), found)
    elif not isinstance(value, quote | State) and type(value) not in PLAIN:
        seen = set() if seen is None else seen
        if id(value) not in seen:
            seen.add(id(value))
            for item in _contents(value):
                _visit(item, found, seen)


def _visit_top(value: Any, found: Callable[[Upstream], object]) -> None:
    if isinstance(value, Upstream):
        found(value)


def resolve_value(value: Any) -> Any:
    """Return `value` with every future and state in it replaced by its result."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Upstream | State):
        return _result(value)
    if isinstance(value, allow_failure):
        return _resolve_allowing(value.unwrap())
    if isinstance(value, quote):
        return value.unwrap()
    if isinstance(value, opaque):
        inner = value.unwrap()
        return _result(inner) if isinstance(inner, Upstream | State) else inner
    if isinstance(value, unmapped):
        return resolve_value(value.unwrap())
    return _rebuilt(value) if holds_upstream(value) else value


def _result(upstream: Upstream | State[Any]) -> Any:
    state = upstream if isinstance(upstream, State) else upstream.state
    if not state.is_completed():
        raise UpstreamTaskError(
            f"An argument comes from a run that ended as {state}, so this task did not start; "
            "pass it as allow_failure(...) to run the task all the same."
        ) from state.result(raise_on_failure=False)
    return state.result()


def _resolve_allowing(value: Any) -> Any:
    if isinstance(value, Upstream | State):
        state = value if isinstance(value, State) else value.state
        return state.result(raise_on_failure=False)
    return resolve_value(value)


def _rebuilt(value: Any) -> Any:
    kind = type(value)
    if isinstance(value, dict):
        items = {resolve_value(key): resolve_value(item) for key, item in value.items()}
        return items if kind is dict else _like(value, items)
    if isinstance(value, tuple) and hasattr(kind, "_make"):
        return kind._make(map(resolve_value, value))
    if isinstance(value, list | tuple | set | frozenset):
        return kind(map(resolve_value, value))
    if _is_dataclass(kind):
        return _replaced(value)
    return value


def _like(original: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    copied = original.copy()
    copied.clear()
    copied.update(items)
    return copied


def _replaced(value: Any) -> Any:
    import copy

    changed = copy.copy(value)
    for name in type(value).__dataclass_fields__:
        object.__setattr__(changed, name, resolve_value(getattr(value, name)))
    return changed
