"""Classes and functions of the program itself, the module `__main__`.

pickle writes them as "the X of __main__", which means another thing in every program. A stream that mentions
`__main__` gets an appendix: which program wrote it, and for each definition it may mean a digest of its shape and a
copy by value. The same program, run again, finds its own class, so that `isinstance` holds; a program that does not
have that class gets the copy.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import cloudpickle  # type: ignore[import-untyped]
from blake3 import blake3

from flowstone.serializers._gc import gc_paused
from flowstone.serializers.base import Buffer

MAINS: Final = ("__main__", "__mp_main__")
_SIZE: Final = struct.Struct("<Q")
_PASSING: Final = frozenset(
    {
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__slotnames__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    }
)
_ATOMS: Final = (int, float, complex, str, bytes, bool, type(None))


_LARGEST_COPY: Final = 1 << 20


class Definition(NamedTuple):
    """A class or function of a program: its name there, its shape, and a copy by value if there can be one."""

    name: str
    shape: bytes
    copy: bytes | None


class Appendix(NamedTuple):
    """Which program wrote a stream (the path of its file, or None) and the definitions it may mean."""

    program: str | None
    definitions: dict[str, Definition]


# --- writing -----------------------------------------------------------------------------------------------------


def appendix(stream: bytes) -> bytes:
    """Return what is to follow `stream`, which mentions `__main__`; pickle stops reading before it."""
    main = sys.modules["__main__"]
    found = {name: _define(name, thing) for name, thing in _things_of(main, "") if _as_global(name) in stream}
    text = pickle.dumps((_program_of(main), list(found.values())), 5)
    return text + _SIZE.pack(len(text))


def _as_global(name: str) -> bytes:
    """Return how pickle writes a reference to a global of that name, the first time that it does.

    Looking for this is as quick as a search for text and does not take a mere text of that name for a reference. A
    reference written in another way is passed over: then only this program can read the value.
    """
    text = name.encode("utf-8", "surrogatepass")
    return pickle.SHORT_BINUNICODE + bytes((min(len(text), 255),)) + text + pickle.MEMOIZE + pickle.STACK_GLOBAL


def is_found_in_main(thing: Any) -> bool:
    """Say whether the name of a class or function of `__main__` leads to it, so that it can be written by name."""
    return thing.__module__ in MAINS and _resolve(sys.modules.get("__main__"), thing.__qualname__) is thing


def revived_class(kind: type) -> tuple[str, bytes, bytes] | None:
    """Return how to write a class of the `__main__` of another process, which sent it here by value."""
    if kind.__module__ not in MAINS or "<locals>" in kind.__qualname__:
        return None
    copy = _copy_by_value(kind)
    return None if copy is None else (kind.__qualname__, shape_of(kind), copy)


def _things_of(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the classes and functions that `owner` defines, inner classes too, each under its qualified name."""
    for thing in list(vars(owner).values()):
        if not isinstance(thing, type | FunctionType) or thing.__module__ not in MAINS:
            continue
        name = thing.__qualname__
        if name.rpartition(".")[0] != prefix:
            continue
        yield name, thing
        if isinstance(thing, type):
            yield from _things_of(thing, name)


def _define(name: str, thing: Any) -> Definition:
    return Definition(name, shape_of(thing), _copy_by_value(thing))


_copies: WeakKeyDictionary[type, bytes | None] = WeakKeyDictionary()


def _copy_by_value(thing: Any) -> bytes | None:
    """Return the definition pickled by value, or None if it refers to what cannot be pickled."""
    if isinstance(thing, type) and thing in _copies:
        return _copies[thing]
    try:
        copy: bytes | None = cloudpickle.dumps(thing)
    except Exception:  # no copy for other programs then; this one finds the definition by its name
        copy = None
    if copy is not None and len(copy) > _LARGEST_COPY:
        copy = None  # it drags data along that is not part of the value
    if isinstance(thing, type):
        _copies[thing] = copy
    return copy


def shape_of(thing: Any) -> bytes:
    """Digest what makes a definition behave as it does, to tell it from another of the same name."""
    hasher = blake3()
    for piece in _shape(thing):
        text = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece
        hasher.update(_SIZE.pack(len(text)) + text)
    return hasher.digest(16)


def _shape(thing: Any) -> Iterator[str | bytes]:
    if isinstance(thing, type):
        yield f"class {thing.__qualname__}({','.join(base.__qualname__ for base in thing.__bases__)})"
        for name, value in sorted(vars(thing).items()):
            if name not in _PASSING:
                yield name
                yield from _shape(value)
    elif isinstance(thing, FunctionType):
        yield from _shape(thing.__code__)
        yield from _shape(thing.__defaults__ or ())
    elif isinstance(thing, CodeType):
        yield thing.co_code
        yield repr((thing.co_name, thing.co_names, thing.co_varnames, thing.co_freevars))
        for constant in thing.co_consts:
            yield from _shape(constant)
    elif isinstance(thing, staticmethod | classmethod):
        yield from _shape(thing.__func__)
    elif isinstance(thing, property):
        for function in (thing.fget, thing.fset, thing.fdel):
            yield from _shape(function)
    elif isinstance(thing, tuple):
        for item in thing:
            yield from _shape(item)
    else:
        yield f"{type(thing).__qualname__} {thing!r}" if isinstance(thing, _ATOMS) else type(thing).__qualname__


# --- reading -----------------------------------------------------------------------------------------------------


def load_with_appendix(main: Buffer, mark_size: int, buffers: Sequence[Buffer]) -> object:
    """Load a stream that an appendix follows, which ends with a mark of `mark_size` bytes."""
    end = len(main) - mark_size - _SIZE.size
    (size,) = _SIZE.unpack_from(main, end)
    program, definitions = pickle.loads(main[end - size : end])
    told = Appendix(program, {definition.name: definition for definition in definitions})
    with gc_paused:
        return _Unpickler(BytesIO(main), told, buffers).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, told: Appendix, buffers: Sequence[Buffer]) -> None:
        super().__init__(file, buffers=buffers)
        self._told = told

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name in MAINS:
            return find(global_name, self._told)
        return super().find_class(module_name, global_name)


def find(name: str, told: Appendix) -> Any:
    """Return what `name` meant in the program that wrote it.

    Raises AttributeError if this is the same program and it has no such thing any more, or if there is no copy.
    """
    main = sys.modules.get("__main__")
    definition = told.definitions.get(name)
    if told.program is not None:
        if told.program == _program_of(main):
            return _required(main, name)
        imported = _module_of(told.program)
        if imported is not None and (found := _resolve(imported, name)) is not None:
            return found
    if definition is None:
        return _required(main, name)
    return _here_or_copy(definition)


def revive(name: str, shape: bytes, copy: bytes) -> Any:
    """Return the class of this program that has this name and shape, else the copy."""
    return _here_or_copy(Definition(name, shape, copy))


_revived: dict[tuple[str, bytes], Any] = {}


def _here_or_copy(definition: Definition) -> Any:
    here = _resolve(sys.modules.get("__main__"), definition.name)
    if isinstance(here, type | FunctionType) and shape_of(here) == definition.shape:
        return here
    if definition.copy is None:
        raise AttributeError(f"{definition.name} was defined in another program, which could not send it along")
    place = definition.name, definition.shape
    if place not in _revived:
        _revived[place] = pickle.loads(definition.copy)
    return _revived[place]


def _program_of(main: ModuleType | None) -> str | None:
    file = getattr(main, "__file__", None)
    return os.path.realpath(file) if isinstance(file, str) else None


def _module_of(file: str) -> ModuleType | None:
    """Return the module that was imported from the file of that program, if it was."""
    name = os.path.basename(file)
    for module_name, module in list(sys.modules.items()):
        told = getattr(module, "__dict__", {}).get("__file__")
        if module_name not in MAINS and isinstance(told, str) and told.endswith(name) and _program_of(module) == file:
            return module
    return None


def _required(module: ModuleType | None, name: str) -> Any:
    found = _resolve(module, name)
    if found is None:
        raise AttributeError(f"the program has no {name} any more")
    return found


def _resolve(module: ModuleType | None, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
