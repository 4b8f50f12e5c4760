"""From the names that code reads to what they mean."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping
from importlib import import_module
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from flowstone.fingerprints.memory import Memory, is_code
from flowstone.fingerprints.names import code_name
from flowstone.fingerprints.nodes import Node, leaf
from flowstone.fingerprints.plainly import is_module
from flowstone.fingerprints.refs import (
    ANNOTATION,
    CHANGED,
    CHANGED_DEFAULT,
    CHANGED_SELF,
    DYNAMIC,
    GETATTR,
    IMPORT,
    SELF,
    SUPER,
    Ref,
)
from flowstone.fingerprints.territory import EXCLUDED, OWN, territory_of_unloaded

if TYPE_CHECKING:
    from flowstone.fingerprints.walk import Walk

_MISSING = object()
_NEITHER = object()  # found, but nothing that counts: a builtin
_PLACES = frozenset({"__file__", "__path__", "__cached__", "__spec__", "__loader__", "__builtins__"})
_WHOLE_OBJECT = frozenset({"__class__", "__dict__"})


class Context:
    """Where a piece of code looks its names up: its cells, its module's names, and the class it is a method of."""

    def __init__(
        self,
        where: str,
        namespace: Mapping[str, object],
        cells: Mapping[str, CellType],
        owner: type | None,
        memory: Memory,
    ) -> None:
        self.where = where
        self.namespace = namespace
        self.cells = cells
        self.owner = owner
        self.memory = memory

    @property
    def module(self) -> str:
        return str(self.namespace.get("__name__") or "")


def follow(walk: Walk, node: Node, refs: tuple[Ref, ...], context: Context) -> None:
    """Give a node an edge for each name that its code reads."""
    for ref in refs:
        kind, root, chain = ref
        if kind in (CHANGED_DEFAULT, CHANGED_SELF):
            continue
        if kind == DYNAMIC:
            if not chain[0] or not _is_redefined(walk, chain[0], context):
                walk.unresolved(context.where, root, chain[1])
            continue
        if kind == SELF:
            target = _of_self(walk, chain, context)
        elif kind == SUPER:
            target = _of_super(walk, chain, context)
        elif kind == IMPORT:
            target = _imported(walk, root, chain, context)
        else:
            target = _named(walk, ref, context)
        if target is not None:
            node.edges[f"{'name' if kind == ANNOTATION else kind} {'.'.join((root, *chain))}"] = target


def _named(walk: Walk, ref: Ref, context: Context) -> Node | bytes | None:
    kind, root, chain = ref
    if kind == GETATTR and _is_redefined(walk, "getattr", context):
        chain = ()
    value, name, found_as = _look_up(walk, root, context)
    if value is _NEITHER:
        return None
    if value is _MISSING:
        return None if kind == ANNOTATION else walk.unresolved(context.where, name, found_as)
    if root in _PLACES and found_as == "global":
        return walk.unresolved(context.where, root, "where the code lies does not count")
    if root == "__name__" and found_as == "global":
        return None
    if found_as == "global" and walk.territory(context.module, root).kind == EXCLUDED:
        return leaf(EXCLUDED, root)
    if kind == CHANGED and not _is_data(value, chain):
        return None
    return along(walk, value, chain, name, found_as, context, (root,))


def _is_data(value: Any, chain: tuple[str, ...]) -> bool:
    """Whether what is changed is a value: not an attribute of a module, of a class or of a function."""
    for attribute in chain:
        if not is_module(value):
            break
        value = vars(value).get(attribute)
    return not is_code(value)


def _look_up(walk: Walk, root: str, context: Context) -> tuple[object, str, str]:
    """Return what a name means, what to call it, and how it was found (or, if it was not, why)."""
    cell = context.cells.get(root)
    if cell is not None:
        name = f"{context.where}[{root}]"
        try:
            value = cell.cell_contents
        except ValueError:
            walk.guard.cell(cell)
            return _MISSING, name, "it has no value yet"
        if context.memory.holds(value, (root,)):
            walk.guard.kind(lambda: cell.cell_contents, type(value))
        else:
            walk.guard.cell(cell)
        return value, name, "closure"
    namespace = context.namespace
    if root in namespace:
        value = namespace[root]
        _guard_name(walk, namespace, root, (root,), context)
        return value, f"{context.module}.{root}", "global"
    walk.guard.absent(namespace, root)
    if hasattr(builtins, root):
        return _NEITHER, root, "builtin"
    return _MISSING, root, "it is not defined (yet)"


def _guard_name(walk: Walk, namespace: Mapping[str, Any], name: str, path: tuple[str, ...], context: Context) -> None:
    """See to it that a name means what it means now; of what the code itself changes, that it is of the same type."""
    if context.memory.holds(namespace[name], path):
        walk.guard.kind(lambda: namespace[name], type(namespace[name]))
    else:
        walk.guard.name(namespace, name, namespace[name])


def _is_redefined(walk: Walk, name: str, context: Context) -> bool:
    """Whether a builtin's name means something of the user's here, or an importer's name something else."""
    value, _, _ = _look_up(walk, name, context)
    return value is not _NEITHER and value is not _MISSING and value is not import_module


def along(
    walk: Walk,
    value: Any,
    chain: tuple[str, ...],
    name: str,
    kind: str,
    context: Context,
    path: tuple[str, ...] = (),
) -> Node | bytes | None:
    """Follow attributes through modules of the user's own, and return what stands for what they lead to.

    `path` are the names that led here, by which a function's memory is known.
    """
    while is_module(value):
        territory = walk.territory(value.__name__)
        if territory.kind != OWN or not chain or not walk.reach:
            return walk.module(value, context.where)
        attribute, chain = chain[0], chain[1:]
        path = (*path, attribute)
        if attribute == "__dict__":
            return walk.module(value, context.where)
        name, kind = f"{value.__name__}.{attribute}", "module attribute"
        if attribute in _PLACES:
            return walk.unresolved(context.where, name, "where the code lies does not count")
        if walk.territory(value.__name__, attribute).kind == EXCLUDED:
            return leaf(EXCLUDED, attribute)
        found = _attribute(walk, value, attribute, path, context)
        if found is _MISSING:
            return _lazily(walk, value, attribute, context)
        value = found
    if path and context.memory.holds(value, path):
        return walk.memory(value, name, context.where)
    if type(value) is FunctionType and chain and chain[0] in vars(value):
        walk.guard.name(vars(value), chain[0], vars(value)[chain[0]])
        node = Node(leaf("attribute"))
        node.edges["of"] = walk.target(value, code_name(value), "function", context.where)
        node.edges["is"] = walk.target(vars(value)[chain[0]], f"{name}.{chain[0]}", "global", context.where)
        return node
    return walk.target(value, name, kind, context.where)


def _attribute(walk: Walk, module: ModuleType, attribute: str, path: tuple[str, ...], context: Context) -> object:
    namespace = vars(module)
    if attribute not in namespace and hasattr(module, "__path__"):
        _import_quietly(f"{module.__name__}.{attribute}")
    if attribute in namespace:
        _guard_name(walk, namespace, attribute, path, context)
        return namespace[attribute]
    walk.guard.absent(namespace, attribute)
    return _MISSING


def _lazily(walk: Walk, module: ModuleType, attribute: str, context: Context) -> Node | bytes:
    """Count how a module makes attributes when they are asked for; asking for one now could do anything."""
    name = f"{module.__name__}.{attribute}"
    maker = vars(module).get("__getattr__")
    if maker is None:
        return walk.unresolved(context.where, name, "the module has no such attribute (yet)")
    walk.unresolved(context.where, name, "the module makes it when it is asked for")
    return walk.target(maker, code_name(maker), "function", context.where)


def _imported(walk: Walk, name: str, chain: tuple[str, ...], context: Context) -> Node | bytes | None:
    absolute = _absolute(name, context.namespace)
    module = sys.modules.get(absolute)
    if module is None:
        territory = territory_of_unloaded(absolute, walk.boundary)
        if territory is None:
            return walk.unresolved(context.where, name, "there is no module of this name")
        if territory.kind != OWN or not walk.reach:
            return walk.foreign_module(absolute, territory)
        problem = _import_quietly(absolute)
        module = sys.modules.get(absolute)
        if module is None:
            return walk.unresolved(context.where, name, f"importing it raised {problem}")
    walk.guard.name(sys.modules, absolute, module)
    return along(walk, module, chain, absolute, "module attribute", context)


def _absolute(name: str, namespace: Mapping[str, object]) -> str:
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if not level:
        return name
    package = namespace.get("__package__")
    if not isinstance(package, str):
        own = str(namespace.get("__name__") or "")
        package = own if "__path__" in namespace else own.rpartition(".")[0]
    base = package.split(".")
    return ".".join([*base[: len(base) - level + 1], *([bare] if bare else [])])


def _import_quietly(name: str) -> str:
    """Import a module of the user's own, as the code itself would; return what went wrong."""
    try:
        import_module(name)
    except Exception as error:  # whatever the module does; it is told as the reason why it was not followed
        return f"{type(error).__name__}: {error}"
    return ""


# methods


def _of_self(walk: Walk, chain: tuple[str, ...], context: Context) -> Node | bytes | None:
    owner = context.owner
    if owner is None:
        return walk.unresolved(
            context.where, ".".join(("self", *chain)), "its class is not known from the function alone"
        )
    if not chain or chain[0] in _WHOLE_OBJECT:
        return walk.target(owner, code_name(owner), "class", context.where)
    return _member(walk, owner.__mro__, chain[0], owner, context)


def _of_super(walk: Walk, chain: tuple[str, ...], context: Context) -> Node | bytes | None:
    here = context.cells.get("__class__")
    owner = here.cell_contents if here is not None else context.owner
    if not isinstance(owner, type):
        return walk.unresolved(
            context.where, ".".join(("super()", *chain)), "its class is not known from the function alone"
        )
    line = (context.owner or owner).__mro__
    after = line[line.index(owner) + 1 :] if owner in line else owner.__mro__[1:]
    if chain:
        return _member(walk, after, chain[0], context.owner or owner, context)
    return walk.target(owner, code_name(owner), "class", context.where)


def _member(walk: Walk, line: tuple[type, ...], name: str, owner: type, context: Context) -> Node | bytes | None:
    """Find an attribute of a class as Python does; None for what only instances have, which is not code."""
    from flowstone.fingerprints import classes

    for kind in line:
        namespace = vars(kind)
        if name not in namespace:
            walk.guard.absent(namespace, name)
            continue
        walk.guard.name(namespace, name, namespace[name])
        territory = walk.territory(classes.module_of(kind), kind.__qualname__)
        if territory.kind != OWN:
            return walk.foreign(kind, territory)
        return classes.member_target(walk, kind, name, namespace[name], owner, context.where)
    return None
