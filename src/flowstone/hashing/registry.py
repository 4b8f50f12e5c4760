"""Who writes which type: encoders by type and by qualified name, found along the method resolution order.

A family of types is a module that is imported when the first type from its packages is met, so nothing of numpy,
pandas or even datetime is imported on their behalf.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from threading import Lock
from typing import Any, TypeVar, overload

from flowstone.hashing.flat import ATOMS, CONTAINERS
from flowstone.hashing.form import Node
from flowstone.hashing.objects import object_encoder

Encoder = Callable[[Any], Node]  # the argument is of the type it was registered for
T = TypeVar("T")

_FAMILIES = {  # the first part of a type's module, and who knows its types
    "PIL": "images",
    "_io": "stdlib",
    "array": "stdlib",
    "builtins": "builtin_types",
    "collections": "stdlib",
    "datetime": "stdlib",
    "decimal": "stdlib",
    "enum": "builtin_types",
    "fractions": "stdlib",
    "ipaddress": "stdlib",
    "jax": "jax_arrays",
    "jaxlib": "jax_arrays",
    "msgspec": "models",
    "networkx": "models",
    "numpy": "arrays",
    "pandas": "frames",
    "pathlib": "stdlib",
    "polars": "polars_frames",
    "pyarrow": "arrow",
    "pydantic": "models",
    "pydantic_core": "models",
    "re": "stdlib",
    "scipy": "sparse",
    "sqlalchemy": "models",
    "torch": "tensors",
    "types": "type_forms",
    "typing": "type_forms",
    "uuid": "stdlib",
    "xarray": "labelled",
    "zoneinfo": "stdlib",
}


class _Registry:
    """Filled by explicit calls; what it found for a type is kept until the next call."""

    def __init__(self) -> None:
        self.found: dict[type, Encoder] = {}
        self.by_user: dict[type, Encoder] = {}
        self.by_type: dict[type, tuple[Encoder, bool]] = {}
        self.by_name: dict[str, tuple[Encoder, bool]] = {}
        self.loaded: set[str] = set()
        self.lock = Lock()

    def add(self, kind: type | str, encoder: Encoder, subclasses: bool) -> None:
        with self.lock:
            entries: dict[Any, tuple[Encoder, bool]] = self.by_name if isinstance(kind, str) else self.by_type
            entries[kind] = (encoder, subclasses)
            self.found = {}

    def add_users(self, kind: type, encoder: Encoder) -> None:
        with self.lock:
            self.by_user[kind] = encoder
            self.found = {}


_registry = _Registry()


def register_type(kind: type | str, encoder: Encoder, *, subclasses: bool = False) -> None:
    """Let `encoder` unfold the values of a type, given itself or by its qualified name (`datetime.datetime`).

    With `subclasses` it also gets instances of subclasses, and must then count their class and what they add.
    """
    _registry.add(kind, encoder, subclasses)


@overload
def register(kind: type[T], function: Callable[[T], object]) -> Callable[[T], object]: ...
@overload
def register(kind: type[T]) -> Callable[[Callable[[T], object]], Callable[[T], object]]: ...
def register(kind: type[T], function: Callable[[T], object] | None = None) -> object:
    """Say how values of a type, and of its subclasses, are hashed: by a stand-in made of values that can be.

    The function must give equal stand-ins for equal values and different ones for different values. The value's class
    counts by itself. Also usable as a decorator: `@register(Session)`.
    """
    if not isinstance(kind, type):
        raise TypeError(f"register() takes a class, not {kind!r}.")
    if function is None:
        return lambda function: register(kind, function)
    if kind in _FIXED:
        raise TypeError(f"{kind.__qualname__} has a fixed form; register a subclass of it.")
    if not callable(function):
        raise TypeError(f"register({kind.__qualname__}, ...) takes a function of one value, not {function!r}.")
    stand_in = function
    _registry.add_users(kind, lambda value: Node("registered", (stand_in(value),), kind=type(value)))
    return function


_FIXED = ATOMS | CONTAINERS | {set, frozenset, object}


def encoder_for(value: object) -> Encoder:
    """The encoder of a value's type; raises if there can be none."""
    kind = type(value)
    found = _registry.found  # a registration puts a new dict in its place, so a stale answer is never kept
    encoder = found.get(kind)
    if encoder is None:
        encoder = found[kind] = _by_order(kind) or object_encoder(kind, value)
    return encoder


def _by_order(kind: type) -> Encoder | None:
    if "__flowstone_key__" in {name for base in kind.__mro__ for name in base.__dict__}:
        return _own_key
    for base in kind.__mro__:
        if (encoder := _registry.by_user.get(base)) is not None:
            return encoder
        _load_family(base)
        entry = _registry.by_type.get(base) or _registry.by_name.get(f"{base.__module__}.{base.__qualname__}")
        if entry is not None and (base is kind or entry[1]):
            return entry[0]
    return None


def _load_family(base: type) -> None:
    family = _FAMILIES.get(base.__module__.partition(".")[0])
    if family is not None and family not in _registry.loaded:
        import_module(f"flowstone.hashing.{family}")
        _registry.loaded.add(family)


def _own_key(value: Any) -> Node:
    return Node("own key", (value.__flowstone_key__(),), (".__flowstone_key__()",), kind=type(value))
