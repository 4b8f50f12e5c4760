"""The nodes of classes: their source where it can be had and believed, and what they are at run time.

A class keeps no code object of its own body. So its text is believed where the code of its methods was compiled from
it; what can be seen at run time counts beside it: bases, plain values, members of enums, defaults of fields, and
methods put in from elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

from flowstone.fingerprints.class_texts import PLAIN, ClassText, class_text, functions_in
from flowstone.fingerprints.functions import defaults_of
from flowstone.fingerprints.memory import Memory
from flowstone.fingerprints.names import code_name, public_name
from flowstone.fingerprints.nodes import Node, leaf
from flowstone.fingerprints.plainly import attribute, is_class
from flowstone.fingerprints.reach import Context, follow
from flowstone.fingerprints.refs import SUPER
from flowstone.fingerprints.territory import OWN
from flowstone.hashing import combine, token

if TYPE_CHECKING:
    from flowstone.fingerprints.walk import Walk

# What Python, its decorators and `copyreg` leave in a class's namespace; much of it differs by version.
_MADE_BY_PYTHON = frozenset(
    {
        *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__slotnames__", "__hash__"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__"),
        *("__firstlineno__", "__static_attributes__", "__match_args__", "__parameters__", "__orig_bases__"),
        *("__abstractmethods__", "__dataclass_fields__", "__dataclass_params__", "__signature__", "__final__"),
        *("__protocol_attrs__", "__non_callable_proto_members__", "_is_protocol", "_is_runtime_protocol"),
        *("__total__", "__required_keys__", "__optional_keys__", "__readonly_keys__", "__mutable_keys__"),
        *("__closed__", "__extra_items__", "_fields", "_field_defaults"),
    }
)
_MADE_BY_OTHERS = ("_abc_", "_sa_", "__pydantic_", "__attrs_", "__class_vars__", "__private_attributes__")
_MAKERS = frozenset({"collections", "dataclasses", "enum", "reprlib", "typing", "typing_extensions"})
_DATACLASS_FLAGS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_FIELD_FLAGS = ("init", "repr", "hash", "compare", "kw_only")


def module_of(kind: type) -> str:
    """Return the module a class was made in; `exec` without a `__name__` makes it seem a builtin."""
    module = kind.__module__
    made_in_python = bool(kind.__flags__ & (1 << 9))
    return "" if module == "builtins" and made_in_python else module


def class_node(walk: Walk, kind: type) -> Node:
    """Return the node of a class of the user's own."""
    found = class_text(kind)
    node = walk.node_for(kind, class_digest(kind))
    if found is not None:
        file, line, text = found.analysis.file, found.analysis.line, found.analysis.show
    else:
        file, line, text = "", 0, lambda: f"<{kind.__qualname__}: no source, counted by its attributes>"
    walk.part(code_name(kind), "class", node.own, file=file, line=line, text=text)
    walk.guard.whole(vars(kind))
    walk.guard.attribute(kind, "__bases__", kind.__bases__)
    walk.later(lambda: _expand(walk, node, kind, found))
    return node


def class_digest(kind: type) -> bytes:
    """Return what a class says by itself, without what it refers to."""
    found = class_text(kind)
    if found is not None:
        return found.analysis.digest
    annotations = vars(kind).get("__annotations__") or {}
    written = [(name, _annotation(note).encode("utf-8", "surrogatepass")) for name, note in annotations.items()]
    return combine("class by attributes", [("name", kind.__name__.encode("utf-8", "surrogatepass")), *written])


def _annotation(note: object) -> str:
    return note if isinstance(note, str) else public_name(note) if isinstance(note, type) else type(note).__qualname__


def _expand(walk: Walk, node: Node, kind: type, found: ClassText | None) -> None:
    name = code_name(kind)
    for place, base in enumerate(kind.__bases__):
        node.edges[f"base {place}"] = walk.target(base, code_name(base), "class", name)
    if type(kind) is not type:
        node.edges["metaclass"] = walk.target(type(kind), code_name(type(kind)), "class", name)
    if found is not None and walk.reach:
        refs = tuple(ref for ref in found.analysis.refs if ref[0] != SUPER)  # the bases count as a whole already
        follow(walk, node, refs, Context(name, _namespace(kind), _cells(kind, found), kind, Memory(refs, walk.is_own)))
    told = [_add_entry(walk, node, kind, found, attribute) for attribute in sorted(vars(kind))]
    node.edges["methods in the source"] = token([attribute for attribute in told if attribute])
    for fact, value in _facts(kind):
        node.edges[fact] = walk.target(value, f"{name} {fact}", "global", name, listed=False)


def _add_entry(walk: Walk, node: Node, kind: type, found: ClassText | None, name: str) -> str:
    """Add what an entry of a class's namespace is beyond the class's text; return its name if that tells its code."""
    entry, where = vars(kind)[name], code_name(kind)
    functions = list(functions_in(entry))
    if functions and found is not None and all(found.tells(name, fn) for fn in functions):
        for fn in functions:
            walk.guard.function(fn)
            for parameter, value in defaults_of(fn):
                edge = f"default {name} {parameter}"
                node.edges[edge] = walk.target(value, f"{where}.{name}({parameter}=)", "default", where, listed=False)
        return name
    if functions:
        if not _is_generated(kind, functions):
            node.edges[f"attribute {name}"] = member_target(walk, kind, name, entry, kind, where)
    elif not _is_machinery(walk, kind, name, entry):
        node.edges[f"attribute {name}"] = walk.target(entry, f"{where}.{name}", "global", where, listed=False)
    elif found is None and not name.startswith("_"):
        node.edges[f"attribute {name}"] = leaf("attribute", public_name(type(entry)))
    return ""


def _is_machinery(walk: Walk, kind: type, name: str, entry: object) -> bool:
    """Whether an entry without code is there because of how classes are made, and not because somebody put it there."""
    if name in _MADE_BY_PYTHON or name.startswith(_MADE_BY_OTHERS):
        return True
    if name.startswith("__"):
        return type(entry) not in PLAIN
    if _is_enum(kind):
        return name.startswith("_") or type(entry) not in PLAIN
    return hasattr(type(entry), "__get__") and walk.territory(module_of(type(entry))).kind != OWN


def _is_generated(kind: type, functions: list[FunctionType]) -> bool:
    """Whether these were written by `dataclass`, `attrs`, `namedtuple` and the like, from what counts already."""
    return all(_is_written_for(kind, fn) for fn in functions)


def _is_written_for(kind: type, fn: FunctionType) -> bool:
    file = fn.__code__.co_filename
    if file == "<string>":
        return "__dataclass_fields__" in vars(kind) or "_fields" in vars(kind)
    return file.startswith(("<attrs generated", "namedtuple_")) or fn.__globals__.get("__name__") in _MAKERS


def _is_enum(kind: type) -> bool:
    return "_member_map_" in vars(kind)


def _facts(kind: type) -> Iterator[tuple[str, object]]:
    """Give what the machinery of the standard library keeps of a class's body, in a form that all versions share."""
    namespace: Mapping[str, Any] = vars(kind)
    if _is_enum(kind):
        yield "members", [(name, member._value_) for name, member in namespace["_member_map_"].items()]
    if "_fields" in namespace and issubclass(kind, tuple):
        yield "fields", namespace["_fields"]
        yield "field defaults", namespace.get("_field_defaults", {})
    if "__dataclass_fields__" in namespace:
        parameters = namespace["__dataclass_params__"]
        yield "dataclass", [(flag, getattr(parameters, flag, None)) for flag in _DATACLASS_FLAGS]
        for name, field in namespace["__dataclass_fields__"].items():
            flags = [(flag, str(getattr(field, flag, None))) for flag in _FIELD_FLAGS]
            yield f"field {name}", [flags, *_given(field.default), "or", *_given(field.default_factory)]


def _given(value: object) -> list[object]:
    return [] if type(value).__qualname__ == "_MISSING_TYPE" else [value]


def _namespace(kind: type) -> Mapping[str, object]:
    for entry in vars(kind).values():
        for fn in functions_in(entry):
            if fn.__module__ == kind.__module__ and fn.__code__.co_qualname.startswith(kind.__qualname__):
                return fn.__globals__
    return vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}


def _cells(kind: type, found: ClassText) -> dict[str, CellType]:
    cells: dict[str, CellType] = {}
    for entry in vars(kind).values():
        for fn in functions_in(entry):
            if found.includes(fn):
                cells.update(zip(fn.__code__.co_freevars, fn.__closure__ or ()))
    return cells


def member_target(walk: Walk, kind: type, name: str, entry: object, owner: type, where: str) -> Node | bytes:
    """Return what stands for one entry of a class's namespace, looked up on `owner`."""
    if type(entry) is FunctionType:
        return walk.method(entry, owner)
    functions = list(functions_in(entry))
    if not functions:
        if hasattr(type(entry), "__get__") and not is_class(entry):
            return walk.target(type(entry), code_name(type(entry)), "class", where)
        return walk.target(entry, f"{code_name(kind)}.{name}", "global", where, listed=False)
    node = walk.node_for(entry, leaf("member", public_name(type(entry))))
    for place, fn in enumerate(functions):
        node.edges[str(place)] = walk.method(fn, owner)
    for given in ("args", "keywords"):  # of `partial` and `partialmethod`
        value = attribute(entry, given)
        if value is not None:
            node.edges[given] = walk.target(value, f"{code_name(kind)}.{name}.{given}", "global", where, listed=False)
    return node
