"""Objects nobody registered: by class and attributes, or by what they tell `copyreg` to rebuild them from.

Their reduce protocol is asked and its answer walked; the bytes of a pickle are never made.
"""

from __future__ import annotations

import copyreg
from collections import OrderedDict
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from flowstone.hashing.form import Items, Node, Refused, State

Encoder = Callable[[Any], Node]

_base: Any = object
_PROTOCOL = 4  # 5 may hand out buffers
_LIVE = {
    "_asyncio.Future": "it is under way",
    "_io._IOBase": "it is an open file or stream",
    "_weakrefset.WeakSet": "its members come and go",
    "asyncio.events.AbstractEventLoop": "it is an event loop",
    "asyncio.futures.Future": "it is under way",
    "asyncio.locks.Barrier": "it coordinates running code",
    "asyncio.locks.Condition": "it coordinates running code",
    "asyncio.locks.Event": "it coordinates running code",
    "asyncio.locks.Lock": "it coordinates running code",
    "asyncio.locks.Semaphore": "it coordinates running code",
    "asyncio.queues.Queue": "it coordinates running code",
    "asyncio.runners.Runner": "it runs an event loop",
    "asyncio.streams.StreamReader": "it is an open stream",
    "asyncio.streams.StreamWriter": "it is an open stream",
    "asyncio.taskgroups.TaskGroup": "it coordinates running code",
    "concurrent.futures._base.Executor": "it is a pool of workers",
    "concurrent.futures._base.Future": "it is under way",
    "ftplib.FTP": "it is a connection",
    "http.client.HTTPConnection": "it is a connection",
    "multiprocessing.connection._ConnectionBase": "it is a connection",
    "multiprocessing.managers.BaseManager": "it is a handle on another process",
    "multiprocessing.managers.BaseProxy": "it is a handle on another process",
    "multiprocessing.pool.Pool": "it is a pool of workers",
    "multiprocessing.process.BaseProcess": "it is a process",
    "multiprocessing.shared_memory.SharedMemory": "it is memory that others may change",
    "selectors.BaseSelector": "it waits for connections",
    "smtplib.SMTP": "it is a connection",
    "socketserver.BaseServer": "it is a server",
    "sqlalchemy.engine.base.Connection": "it is a connection",
    "sqlalchemy.engine.base.Engine": "it holds connections",
    "sqlalchemy.orm.session.Session": "it holds connections",
    "subprocess.Popen": "it is a process",
    "threading.Thread": "it is a thread",
    "weakref.WeakKeyDictionary": "its items come and go",
    "weakref.WeakValueDictionary": "its items come and go",
    "weakref.finalize": "it acts when something else is gone",
}


def object_encoder(kind: type, sample: Any) -> Encoder:
    """Choose, once for a class and by a first instance, how its instances are unfolded; raises if they cannot be."""
    refuse_live(kind)
    reducer = copyreg.dispatch_table.get(kind)
    if reducer is not None:
        return lambda value: reduced(value, reducer(value))
    if issubclass(kind, tuple) and hasattr(kind, "_fields") and kind.__reduce_ex__ is _base.__reduce_ex__:
        return _named_tuple
    if issubclass(kind, (set, frozenset)):
        return _set
    if kind is object:
        raise Refused(kind, "it has no content but its identity")
    if _is_plain(kind):
        sample.__reduce_ex__(_PROTOCOL)  # raises for extension types that keep more than attributes
        return _attributes_encoder(kind, sample)
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
    if kind.__reduce_ex__ is not _base.__reduce_ex__ or kind.__reduce__ is not _base.__reduce__:
        return False
    if hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__"):
        return False
    # the __getstate__ that `dataclasses` and `attrs` give to slotted classes says no more than the attributes do
    getstate = kind.__getstate__
    if getstate is not _base.__getstate__ and getattr(getstate, "__module__", "") not in ("dataclasses", "attr._make"):
        return False
    return all(_is_python_class(base) for base in kind.__mro__[:-1])


def _is_python_class(base: type) -> bool:
    return "__module__" in base.__dict__ and bool(base.__flags__ & (1 << 9)) and not base.__itemsize__


def _attributes_encoder(kind: type, sample: object) -> Encoder:
    slots = slot_names(kind)
    cached = cached_names(kind)
    if not slots and not cached and hasattr(sample, "__dict__"):  # the common case, shorter by half
        return lambda value: Node("object", (State(value.__dict__),), kind=type(value))
    return lambda value: Node("object", (State(attributes(value, slots, cached)),), kind=type(value))


def attributes(value: object, slots: tuple[str, ...], cached: frozenset[str]) -> dict[str, Any]:
    """All attributes of an instance's own, but for what a `cached_property` left there."""
    state: dict[str, Any] = getattr(value, "__dict__", None) or {}
    if cached and not cached.isdisjoint(state):
        state = {name: item for name, item in state.items() if name not in cached}
    if slots:
        state = dict(state)
        for name in slots:
            if (item := getattr(value, name, _UNSET)) is not _UNSET:
                state[name] = item
    return state


_UNSET = object()


def slot_names(kind: type) -> tuple[str, ...]:
    """The instance attributes that live in slots, along the whole hierarchy."""
    return tuple(name for base in reversed(kind.__mro__) if "__slots__" in base.__dict__ for name in _slots_of(base))


def _slots_of(base: type) -> list[str]:
    member = type(_Slot.__dict__["place"])
    names = [name for name, entry in base.__dict__.items() if type(entry) is member]
    if "__attrs_attrs__" in base.__dict__:  # attrs also has slots for what a cached_property or a hash comes to
        fields = {field.name for field in base.__dict__["__attrs_attrs__"]}
        return [name for name in names if name in fields]
    return names


class _Slot:
    __slots__ = ("place",)


def cached_names(kind: type) -> frozenset[str]:
    """Names under which a `cached_property` keeps its answer in the instance: they follow from the rest."""
    names = _cached.get(kind)
    if names is None:
        names = _cached[kind] = _find_cached_names(kind)
    return names


_cached: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def _find_cached_names(kind: type) -> frozenset[str]:
    names = {
        name
        for base in kind.__mro__
        for name, entry in base.__dict__.items()
        if any("cached_property" in of.__name__ for of in type(entry).__mro__)
    }
    return frozenset(names | {"_attrs_cached_hash"} if hasattr(kind, "__attrs_attrs__") else names)


def reduced(value: object, answer: object) -> Node:
    """Unfold the answer of a reduce method."""
    kind = type(value)
    if isinstance(answer, str):
        return Node("global", (getattr(value, "__module__", None) or "", answer))
    if not isinstance(answer, tuple) or not 2 <= len(answer) <= 6:
        raise Refused(kind, "its __reduce__ gives neither a name nor a tuple of two to six items")
    rebuild, arguments, state, listed, keyed, *_ = *answer, None, None, None
    label, arguments = _way_back(kind, rebuild, arguments)
    return Node(
        label,
        (
            Items(list(arguments), lambda place: f".__reduce_ex__()[1][{place}]"),
            _state(state, cached_names(kind)),
            None if listed is None else list(listed),
            None if keyed is None else list(keyed) if issubclass(kind, OrderedDict) else dict(keyed),
        ),
        kind=kind,
    )


def _way_back(kind: type, rebuild: Any, arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """How `copyreg` would make such a value again: the label of that way, and what it is given."""
    if rebuild in _MAKERS and arguments[0] is kind:
        return _MAKERS[rebuild], arguments[1:]
    if rebuild is kind:
        return "called", arguments
    if isinstance(rebuild, type):
        return "called other", (rebuild, *arguments)
    owner, name = getattr(rebuild, "__self__", None), getattr(rebuild, "__qualname__", "<")
    if "<" in name or not isinstance(owner, (type, ModuleType, type(None))):
        return "rebuilt by", (rebuild, *arguments)
    place = f"{getattr(rebuild, '__module__', None)}:{name}"
    return "rebuilt", (place, owner if isinstance(owner, type) else None, *arguments)


_MAKERS: dict[Any, str] = {
    copyreg.__newobj__: "made",  # type: ignore[attr-defined]
    copyreg.__newobj_ex__: "made with keywords",  # type: ignore[attr-defined]
}


def _state(state: object, cached: frozenset[str]) -> object:
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        return State({**(state[0] or {}), **state[1]})
    if isinstance(state, dict):
        return State({name: item for name, item in state.items() if name not in cached})
    return state


def _named_tuple(value: Any) -> Node:
    fields = value._fields
    items = Items(list(value), lambda place: f".{fields[place]}")
    return Node("named tuple", (list(fields), items, State(getattr(value, "__dict__", {}))), kind=type(value))


def _set(value: Any) -> Node:
    """Instances of subclasses of set and frozenset, whose reduce protocol tells them in an order of the process."""
    state = attributes(value, slot_names(type(value)), cached_names(type(value)))
    return Node("set subclass", (frozenset(value), State(state)), ("", ""), kind=type(value))
