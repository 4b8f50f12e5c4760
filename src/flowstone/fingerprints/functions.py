"""The nodes of functions: what they carry with them, and what their code reads."""

from __future__ import annotations

from collections.abc import Iterable
from types import CellType, FunctionType, MappingProxyType
from typing import TYPE_CHECKING

from flowstone.fingerprints.analysis import Analysis, analyse_function
from flowstone.fingerprints.memory import OWN_MEMORY, is_memory
from flowstone.fingerprints.names import code_name, public_name
from flowstone.fingerprints.nodes import Node, leaf
from flowstone.fingerprints.plainly import is_class, is_runnable
from flowstone.fingerprints.reach import Context, along, follow
from flowstone.fingerprints.refs import CHANGED

if TYPE_CHECKING:
    from flowstone.fingerprints.walk import Walk


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
    context = Context(name, fn.__globals__, cells, owner or _owner_of(walk, fn, cells))
    for parameter, value in _defaults(fn):
        node.edges[f"default {parameter}"] = walk.target(value, f"{name}({parameter}=)", "default", name)
        if parameter in analysis.defaults and walk.is_opaque(value):
            node.edges[f"default {parameter} as written"] = analysis.defaults[parameter]
    read: set[str] = set()
    if walk.reach:
        follow(walk, node, analysis.refs, context)
        read = {root for kind, root, _ in analysis.refs if kind != CHANGED}
    for variable, cell in cells.items():
        if (CHANGED, variable, ()) in analysis.refs and is_memory(cell):
            node.edges[f"name {variable}"] = walk.unresolved(name, variable, OWN_MEMORY)
        elif variable != "__class__" and variable not in read:
            node.edges[f"name {variable}"] = _content(walk, cell, f"{name}[{variable}]", context)
    if "__wrapped__" in vars(fn):
        wrapped = vars(fn)["__wrapped__"]
        walk.guard.name(vars(fn), "__wrapped__", wrapped)
        node.edges["wrapped"] = walk.target(wrapped, code_name(wrapped), "function", name)


def _content(walk: Walk, cell: CellType, name: str, context: Context) -> Node | bytes:
    walk.guard.cell(cell)
    try:
        value = cell.cell_contents
    except ValueError:
        return leaf("empty cell")
    found = along(walk, value, (), name, "closure", context)
    return leaf("nothing") if found is None else found


def _defaults(fn: FunctionType) -> Iterable[tuple[str, object]]:
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
    """Follow what a wrapper of somebody else's wraps; what else it keeps is its own business, and may change as it works."""
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
