"""Objects nobody registered: by class and attributes, or by what they tell `copyreg` to rebuild them from.

Their reduce protocol is asked and its answer walked; the bytes of a pickle are never made.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

from flowstone.hashing.form import Items, Node, Refused, State

Encoder = Callable[[Any], Node]

_base: Any = object
_PROTOCOL = 4  # 5 may hand out buffers
_LIVE = {
    "_asyncio.Future": "it is under way",
    "_io._IOBase": "it is an open file or stream",
    "asyncio.events.AbstractEventLoop": "it is an event loop",
    "asyncio.futures.Future": "it is under way",
    "asyncio.locks.Event": "it coordinates running code",
    "asyncio.locks.Lock": "it coordinates running code",
    "asyncio.locks.Condition": "it coordinates running code",
    "asyncio.locks.Semaphore": "it coordinates running code",
    "asyncio.locks.Barrier": "it coordinates running code",
    "asyncio.queues.Queue": "it coordinates running code",
    "concurrent.futures._base.Executor": "it is a pool of workers",
    "concurrent.futures._base.Future": "it is under way",
    "multiprocessing.pool.Pool": "it is a pool of workers",
    "multiprocessing.process.BaseProcess": "it is a process",
    "selectors.BaseSelector": "it waits for connections",
    "subprocess.Popen": "it is a process",
    "threading.Thread": "it is a thread",
}


def object_encoder(kind: type, sample: Any) -> Encoder:
    """Choose, once for a class and by a first instance, how its instances are unfolded; raises if they cannot be."""
    refuse_live(kind)
    reducer = copyreg.dispatch_table.get(kind)
    if reducer is not None:
        return lambda value: reduced(value, reducer(value))
    if _is_plain(kind):
        sample.__reduce_ex__(_PROTOCOL)  # raises for extension types that keep more than attributes
        return _attributes_encoder(kind)
    return lambda value: reduced(value, value.__reduce_ex__(_PROTOCOL))


def refuse_live(kind: type) -> None:
    """Refuse what is used up by looking at it, or is a handle on something alive."""
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        raise Refused(kind, "it is an iterator, and looking into it would use it up; pass a list")
    for base in kind.__mro__:
        reason = _LIVE.get(f"{base.__module__}.{base.__qualname__}")
        if reason:
            raise Refused(kind, reason)


def _is_plain(kind: Any) -> bool:
    """Whether `copyreg` itself would copy instances by class and attributes alone."""
    if kind is object or kind.__reduce_ex__ is not _base.__reduce_ex__ or kind.__reduce__ is not _base.__reduce__:
        return False
    if hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__"):
        return False
    # the __getstate__ that `dataclasses` gives to frozen slotted classes says no more than the attributes do
    if kind.__getstate__ is not _base.__getstate__ and kind.__getstate__.__module__ != "dataclasses":
        return False
    return all(_is_python_class(base) for base in kind.__mro__[:-1])


def _is_python_class(base: type) -> bool:
    return "__module__" in base.__dict__ and bool(base.__flags__ & (1 << 9)) and not base.__itemsize__


def _attributes_encoder(kind: type) -> Encoder:
    slots = slot_names(kind)
    cached = cached_names(kind)

    def unfold(value: object) -> Node:
        return Node("object", (State(attributes(value, slots, cached)),), kind=kind)

    return unfold


def attributes(value: object, slots: tuple[str, ...], cached: frozenset[str]) -> dict[str, Any]:
    """All attributes of an instance's own, but for what a `cached_property` left there."""
    state: dict[str, Any] = getattr(value, "__dict__", None) or {}
    if cached and not cached.isdisjoint(state):
        state = {name: item for name, item in state.items() if name not in cached}
    if slots:
        state = dict(state)
        for name in slots:
            try:
                state[name] = getattr(value, name)
            except AttributeError:
                continue
    return state


def slot_names(kind: type) -> tuple[str, ...]:
    """The instance attributes that live in slots, along the whole hierarchy."""
    member = type(_Slot.__dict__["place"])
    return tuple(
        name
        for base in reversed(kind.__mro__)
        for name, entry in base.__dict__.items()
        if type(entry) is member and "__slots__" in base.__dict__
    )


class _Slot:
    __slots__ = ("place",)


def cached_names(kind: type) -> frozenset[str]:
    """Names under which a `cached_property` keeps its answer in the instance: they follow from the rest."""
    return frozenset(
        name
        for base in kind.__mro__
        for name, entry in base.__dict__.items()
        if any("cached_property" in of.__name__ for of in type(entry).__mro__)
    )


def reduced(value: object, answer: object) -> Node:
    """Unfold the answer of a reduce method."""
    if isinstance(answer, str):
        return Node("global", (getattr(value, "__module__", None) or "", answer))
    if not isinstance(answer, tuple) or not 2 <= len(answer) <= 6:
        raise Refused(type(value), "its __reduce__ gives neither a name nor a tuple of two to six items")
    rebuild, arguments, state, listed, keyed, *_ = *answer, None, None, None
    if rebuild is _newobj and type(value) is object:
        raise Refused(object, "a bare object() is nothing but its identity")
    return Node(
        "reduced",
        (
            Items([_name_of(rebuild)], _nowhere),
            Items(list(arguments), lambda place: f".__reduce_ex__()[1][{place}]"),
            _state(state, cached_names(type(value))),
            None if listed is None else list(listed),
            None if keyed is None else dict(keyed),
        ),
    )


_newobj = copyreg.__newobj__  # type: ignore[attr-defined]


def _nowhere(_: int) -> str:
    return ""


def _name_of(rebuild: Any) -> object:
    if isinstance(rebuild, type):
        return rebuild
    return f"{rebuild.__module__}:{rebuild.__qualname__}"


def _state(state: object, cached: frozenset[str]) -> object:
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        return State({**(state[0] or {}), **state[1]})
    if isinstance(state, dict):
        return State({name: item for name, item in state.items() if name not in cached})
    return state
