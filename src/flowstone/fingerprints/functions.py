"""The nodes of functions: what they carry with them, and what their code reads."""

from __future__ import annotations

from collections.abc import Iterable
from types import CellType, FunctionType, MappingProxyType
from typing import TYPE_CHECKING

from flowstone.fingerprints.analysis import Analysis, analyse_function
from flowstone.fingerprints.memory import Memory, is_code
from flowstone.fingerprints.names import code_name, public_name
from flowstone.fingerprints.nodes import Node
from flowstone.fingerprints.plainly import is_class, is_runnable
from flowstone.fingerprints.reach import Context, follow
from flowstone.fingerprints.refs import ANNOTATION, CHANGED, CHANGED_DEFAULT, GETATTR, NAME
from flowstone.fingerprints.values import is_frozen

if TYPE_CHECKING:
    from flowstone.fingerprints.walk import Walk

_OF_CELLS = frozenset({NAME, GETATTR, ANNOTATION, CHANGED})


def function_node(walk: Walk, fn: FunctionType, owner: type | None = None) -> Node:
    """Return the node of a function of the user's own; `owner` is the class it was looked up on, if it is a method."""
    analysis = analyse_function(fn)
    node = walk.node_for(fn, analysis.digest, owner)
    name = code_name(fn)
    walk.part(name, "function", analysis.digest, file=analysis.file, line=analysis.line, text=analysis.show)
    walk.guard.function(fn)
    walk.later(lambda: _expand(walk, node, fn, analysis, name, owner))
    return node


def _expand(walk: Walk, node: Node, fn: FunctionType, analysis: Analysis, name: str, owner: type | None) -> None:
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or ()))
    memory = Memory(analysis.refs, walk.is_own)
    context = Context(name, fn.__globals__, cells, owner or _owner_of(walk, fn, cells), memory)
    _add_defaults(walk, node, fn, analysis, name)
    refs = (
        analysis.refs if walk.reach else tuple(ref for ref in analysis.refs if ref[1] in cells and ref[0] in _OF_CELLS)
    )
    follow(walk, node, refs, context)
    for variable in cells.keys() - {root for _, root, _ in refs} - {"__class__"}:
        follow(walk, node, ((NAME, variable, ()),), context)  # read in a way that only bytecode tells
    if "__wrapped__" in vars(fn):
        wrapped = vars(fn)["__wrapped__"]
        walk.guard.name(vars(fn), "__wrapped__", wrapped)
        node.edges["wrapped"] = walk.target(wrapped, code_name(wrapped), "function", name)


def _add_defaults(walk: Walk, node: Node, fn: FunctionType, analysis: Analysis, name: str) -> None:
    for parameter, value in defaults_of(fn):
        shown = f"{name}({parameter}=)"
        if (CHANGED_DEFAULT, parameter, ()) in analysis.refs and not is_code(value) and not is_frozen(value):
            target: Node | bytes = walk.memory(value, shown, name)
        else:
            target = walk.target(value, shown, "default", name)
        node.edges[f"default {parameter}"] = target
        if parameter in analysis.defaults and walk.is_opaque(value):
            node.edges[f"default {parameter} as written"] = analysis.defaults[parameter]


def defaults_of(fn: FunctionType) -> Iterable[tuple[str, object]]:
    """Give the defaults of a function as they are now, by the names of its parameters."""
    code = fn.__code__
    values = fn.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    yield from zip(positional[len(positional) - len(values) :], values)
    yield from sorted((fn.__kwdefaults__ or {}).items())


def _owner_of(walk: Walk, fn: FunctionType, cells: dict[str, CellType]) -> type | None:
    """Find the class that a function was written in, by the cell that `super()` uses or by its qualified name."""
    if "__class__" in cells:
        try:
            found = cells["__class__"].cell_contents
        except ValueError:
            return None
        return found if isinstance(found, type) else None
    path = fn.__code__.co_qualname.split(".")[:-1]
    if not path or "<locals>" in path:
        return None
    owner: object = fn.__globals__.get(path[0])
    if path[0] in fn.__globals__:
        walk.guard.name(fn.__globals__, path[0], owner)
    else:
        walk.guard.absent(fn.__globals__, path[0])
    for name in path[1:]:
        owner = vars(owner).get(name) if isinstance(owner, type) else None
    return owner if isinstance(owner, type) and owner.__qualname__ == ".".join(path) else None


def expand_foreign(walk: Walk, node: Node, fn: FunctionType) -> None:
    """Follow what a wrapper of somebody else's wraps; what else it keeps may change as it works, and does not count."""
    name = code_name(fn)
    if "__wrapped__" in vars(fn):
        wrapped = vars(fn)["__wrapped__"]
        walk.guard.name(vars(fn), "__wrapped__", wrapped)
        node.edges["wrapped"] = walk.target(wrapped, code_name(wrapped), "function", name)
    for variable, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ()):
        walk.guard.cell(cell)
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if type(value) is FunctionType or is_class(value) or is_runnable(value):
            node.edges[f"name {variable}"] = walk.target(value, code_name(value), "function", name)
    registry = vars(fn).get("registry")
    if fn.__globals__.get("__name__") == "functools" and isinstance(registry, MappingProxyType):  # singledispatch
        walk.guard.whole(registry)
        for kind, implementation in registry.items():
            edge = f"registered for {public_name(kind)}"
            node.edges[edge] = walk.target(implementation, code_name(implementation), "function", name)
