"""Functions, methods, partials, classes, modules and the annotations made of them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from importlib import import_module
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from flowstone.exceptions import HashError
from flowstone.hashing.flat import ATOMS, CONTAINERS, flat
from flowstone.hashing.form import Node, Refused, State, buffer_digest
from flowstone.hashing.registry import Encoder, register_type
from flowstone.hashing.unfold import class_token
from flowstone.hashing.walk import token

FunctionEncoder = Callable[[FunctionType], bytes]
ClassEncoder = Callable[[type], bytes]


_CODE_IS_KNOWN_BY = "flowstone.fingerprints"  # a floor above; imported by name when the first function is met


class _Hooks:
    """What a floor above says of code; without it code objects are walked."""

    functions: FunctionEncoder | None = None
    classes: ClassEncoder | None = None
    told = False


def _hooks() -> type[_Hooks]:
    """The hooks, once whoever knows code had a chance to register: a token never depends on what happens to be imported."""
    if not _Hooks.told:
        _Hooks.told = True
        with suppress(ModuleNotFoundError):
            import_module(_CODE_IS_KNOWN_BY)
    return _Hooks


_bodies: WeakKeyDictionary[type, bytes] = WeakKeyDictionary()

_in_a_body: ContextVar[bool] = ContextVar("in_a_body", default=False)


def register_functions(encoder: FunctionEncoder | None) -> None:
    """Let `encoder` give the digest that stands for a Python function's code and all it depends on."""
    _Hooks.told = True
    _Hooks.functions = staticmethod(encoder) if encoder else None


def register_classes(encoder: ClassEncoder | None) -> None:
    """Let `encoder` give the digest that stands for the body of a class that cannot be imported by its name."""
    _Hooks.told = True
    _Hooks.classes = staticmethod(encoder) if encoder else None


def _function(value: FunctionType) -> Node:
    attributes = State({name: _told(item) for name, item in value.__dict__.items() if name != "__wrapped__"})
    if (encoder := _hooks().functions) is not None:
        return Node("function", (encoder(value), attributes))
    return Node(
        "function by code",
        (
            value.__code__,
            value.__defaults__,
            value.__kwdefaults__,
            [_cell(cell) for cell in value.__closure__ or ()],
            value.__dict__.get("__wrapped__"),
            attributes,
        ),
        (".__code__", ".__defaults__", ".__kwdefaults__", ".__closure__", ".__wrapped__", ""),
    )


def _told(attribute: Any) -> object:
    """Plain values that hang on a function count; of others their type does, for caches hang there too."""
    kind = type(attribute)
    return attribute if _is_plain(attribute) else f"{kind.__module__}.{kind.__qualname__}"


def _is_plain(value: Any) -> bool:
    return type(value) in ATOMS or (type(value) in CONTAINERS and flat(value) is not None)


def _cell(cell: Any) -> object:
    try:
        return [cell.cell_contents]
    except ValueError:
        return None


def _code(value: CodeType) -> Node:
    counts = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags)
    names = (value.co_name, value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
    return Node("code", (value.co_code, counts, names, value.co_consts, value.co_exceptiontable))


def _method(value: MethodType) -> Node:
    return Node("method", (value.__func__, value.__self__), (".__func__", ".__self__"))


def _builtin(value: BuiltinFunctionType) -> Node:
    owner = value.__self__
    if owner is None or isinstance(owner, ModuleType):
        return Node("builtin", (value.__module__ or "", value.__qualname__))
    return Node("builtin method", (value.__name__, owner), ("", ".__self__"))


def _descriptor(value: Any) -> Node:
    return Node("descriptor", (value.__objclass__, value.__name__))


def _method_wrapper(value: Any) -> Node:
    return Node("builtin method", (value.__name__, value.__self__), ("", ".__self__"))


def _partial(value: functools.partial[Any]) -> Node:
    names = (".func", ".args", ".keywords", "")
    return Node("partial", (value.func, value.args, value.keywords, State(value.__dict__)), names, kind=type(value))


def _cached_function(value: Any) -> Node:
    return Node("lru_cache", (value.__wrapped__, value.cache_parameters()), (".__wrapped__", ""))


def _wrapping(value: Any) -> Node:
    return Node(type(value).__name__, (value.__func__,), (".__func__",))


def _property(value: property) -> Node:
    return Node("property", (value.fget, value.fset, value.fdel), (".fget", ".fset", ".fdel"), kind=type(value))


def _module(value: ModuleType) -> Node:
    name = value.__name__
    if name == "__main__" or sys.modules.get(name) is not value:
        raise Refused(ModuleType, f"no other process can import {name!r} by its name and get this module")
    return Node("module", (name,))


def _class(value: type) -> Node:
    module, name = value.__module__, value.__qualname__
    if is_importable(value) or not value.__flags__ & _ON_HEAP:
        return Node("class", (module, name))
    given = getattr(value, "__pydantic_generic_metadata__", None)
    if given and given["origin"]:
        return Node("generic class", (class_token(given["origin"]), token(given["args"])))
    module = "__main__" if module == "__mp_main__" else module  # its name in a spawned process
    return Node("local class", (module, name, _body_digest(value)))


_ON_HEAP = 1 << 9  # types made at run time; others are part of an interpreter or an extension module


def _body_digest(kind: type) -> bytes:
    if (encoder := _hooks().classes) is not None:
        return encoder(kind)
    if _in_a_body.get():
        return b""  # classes may refer to each other, so inside of a body others count by their names
    known = _bodies.get(kind)
    if known is None:
        mark = _in_a_body.set(True)
        try:
            known = _bodies[kind] = buffer_digest(
                token([_body(base) for base in kind.__mro__ if not is_importable(base)])
            )
        finally:
            _in_a_body.reset(mark)
    return known


def is_importable(kind: type) -> bool:
    """Whether another process finds this very class by its module and name."""
    if kind.__module__ in ("__main__", "__mp_main__"):
        return False
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


# What Python and its decorators leave in a class body, which differs by version or says nothing of behaviour.
_SKIPPED = frozenset(
    f"__{name}__"
    for name in (
        *("dict", "weakref", "module", "qualname", "doc", "hash", "slots", "match_args", "firstlineno"),
        *("static_attributes", "abstractmethods", "annotations", "annotations_cache", "annotate", "annotate_func"),
        *("dataclass_params", "dataclass_fields", "slotnames"),  # the last by copyreg, when an instance is copied
    )
) | {"_abc_impl"}


def _body(kind: type) -> list[object]:
    return [(name, _member(entry)) for name, entry in sorted(vars(kind).items()) if name not in _SKIPPED]


def _member(entry: object) -> object:
    """Code and plain constants count; of anything else in a class body its type does, for it may be anything."""
    if type(entry) in _CODE or isinstance(entry, type) or _is_plain(entry):
        try:
            return token(entry)
        except HashError:
            return token(entry.__code__) if isinstance(entry, FunctionType) else type(entry).__qualname__
    return f"{type(entry).__module__}.{type(entry).__qualname__}"


_CODE = frozenset({FunctionType, staticmethod, classmethod, property})


def _no_frame(value: object) -> Node:
    raise Refused(type(value), "it belongs to running code")


_ENCODERS: dict[str, Encoder] = {
    "builtins.function": _function,
    "builtins.code": _code,
    "builtins.method": _method,
    "builtins.builtin_function_or_method": _builtin,
    "builtins.method_descriptor": _descriptor,
    "builtins.classmethod_descriptor": _descriptor,
    "builtins.wrapper_descriptor": _descriptor,
    "builtins.getset_descriptor": _descriptor,
    "builtins.member_descriptor": _descriptor,
    "builtins.method-wrapper": _method_wrapper,
    "builtins.staticmethod": _wrapping,
    "builtins.classmethod": _wrapping,
    "builtins.property": _property,
    "builtins.frame": _no_frame,
    "builtins.traceback": _no_frame,
    "functools._lru_cache_wrapper": _cached_function,
}
for _name, _encoder in _ENCODERS.items():
    register_type(_name, _encoder)

register_type("functools.partial", _partial, subclasses=True)
register_type("builtins.type", _class, subclasses=True)
register_type("builtins.module", _module, subclasses=True)
