"""The walk from a function to everything that its fingerprint counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from flowstone.exceptions import HashError
from flowstone.fingerprints import classes, functions, memo
from flowstone.fingerprints.base import CodePart, Fingerprint, Unresolved
from flowstone.fingerprints.boundary import Boundary
from flowstone.fingerprints.guards import Guard
from flowstone.fingerprints.memory import OWN_MEMORY
from flowstone.fingerprints.names import code_name, public_module, public_name, shown_value
from flowstone.fingerprints.nodes import Node, leaf, rooted_digest
from flowstone.fingerprints.plainly import attribute, is_class, is_module, is_runnable
from flowstone.fingerprints.standins import stand_in
from flowstone.fingerprints.territory import DISTRIBUTION, OWN, STDLIB, Territory, territory_of
from flowstone.fingerprints.values import hold, is_frozen
from flowstone.hashing import token

_ATOMS = (type(None), bool, int, float, str, bytes)
_WRAPPED = ("__wrapped__", "__func__", "py_func", "func", "fget", "fset", "fdel")  # where wrappers keep what they wrap
_NOT_CONTENT = {
    "logging.Logger": "where a logger writes does not count",
    "logging.RootLogger": "where a logger writes does not count",
    "logging.LoggerAdapter": "where a logger writes does not count",
    "os._Environ": "the environment does not count",
}


class Walk:
    """One walk: what was found so far, and what waits to be looked into.

    With `reach` it follows every name that code reads; without, only what a function carries with it: its defaults, its
    closure and what it wraps.
    """

    def __init__(self, root: object, boundary: Boundary, *, reach: bool, owner: type | None = None) -> None:
        self.root = root
        self.owner = owner
        self.boundary = boundary
        self.reach = reach
        self.guard = Guard(root)
        self._parts: list[CodePart] = []
        self._unresolved: dict[Unresolved, None] = {}
        self._nodes: dict[tuple[int, int], Node] = {}
        self._alive: list[object] = []  # so that no id is used twice
        self._waiting: deque[Callable[[], None]] = deque()
        self._seen_parts: set[tuple[str, str, bytes]] = set()
        self._opaque: set[int] = set()

    def fingerprint(self) -> Fingerprint:
        """Walk to the end and return what was found."""
        if self.owner is not None and type(self.root) is FunctionType:
            target: Node | bytes = self.method(self.root, self.owner)
        else:
            target = self.target(self.root, code_name(self.root), "function", "")
        while self._waiting:
            self._waiting.popleft()()
        memo.flush()
        root = target if isinstance(target, Node) else Node(target)
        first, rest = self._parts[:1], sorted(self._parts[1:], key=lambda part: (part.kind == DISTRIBUTION, part.name))
        return Fingerprint(rooted_digest(root), first + rest, self._unresolved)

    # what the parts of the walk report

    def part(
        self, name: str, kind: str, digest: bytes, *, file: str = "", line: int = 0, text: Callable[[], str] | str = ""
    ) -> None:
        if (name, kind, digest) not in self._seen_parts:
            self._seen_parts.add((name, kind, digest))
            self._parts.append(CodePart(name, kind, digest, file=file, line=line, text=text))

    def unresolved(self, where: str, expression: str, reason: str) -> bytes:
        self._unresolved[Unresolved(where, expression, reason)] = None
        return leaf("unresolved", expression)

    def later(self, step: Callable[[], None]) -> None:
        self._waiting.append(step)

    def node_for(self, value: object, own: bytes, owner: type | None = None) -> Node:
        node = self._nodes[id(value), id(owner)] = Node(own)
        self._alive.append(value)
        return node

    def is_opaque(self, value: object) -> bool:
        """Whether a target given for this value could only count its type."""
        return id(value) in self._opaque

    # targets

    def target(self, value: Any, name: str, kind: str, where: str, *, listed: bool = True) -> Node | bytes:
        """Return what stands for a value in the graph; what it refers to is looked into later.

        A value without content counts by its type, and is reported as not followed unless `listed` is false.
        """
        its_type = type(value)  # not isinstance, which asks proxies what they pretend to be
        if its_type in _ATOMS:
            digest = token(value)
            self.part(name, kind, digest, text=partial(shown_value, name, value))
            return digest
        known = self._nodes.get((id(value), id(None)))
        if known is not None:
            return known
        if its_type is FunctionType:
            return self._function(value, None)
        if is_class(value):
            return self._class(value)
        if its_type is MethodType:
            return self._method(value, name, where)
        if is_module(value):
            return self.module(value, where)
        if is_runnable(value):
            return self._runnable(value, where)
        return self._wrapper(value, name, where) or self._value(value, name, kind, where, listed)

    def method(self, fn: FunctionType, owner: type) -> Node:
        """Return what stands for a function that was looked up on a class, whose other methods it may call."""
        known = self._nodes.get((id(fn), id(owner)))
        return known if known is not None else self._function(fn, owner)

    def _runnable(self, value: Any, where: str) -> Node | bytes:
        fn = value.fn
        self.guard.attribute(value, "fn", fn)
        return self.target(fn, code_name(fn), "function", where)

    def _function(self, fn: FunctionType, owner: type | None) -> Node:
        module = str(fn.__globals__.get("__name__") or "")
        territory = self.territory(module, fn.__qualname__)
        if territory.kind != OWN:
            node = self.node_for(fn, self.foreign(fn, territory), owner)
            self.later(lambda: functions.expand_foreign(self, node, fn))
            return node
        return functions.function_node(self, fn, owner)

    def _class(self, kind: type) -> Node | bytes:
        territory = self.territory(classes.module_of(kind), kind.__qualname__)
        if territory.kind != OWN:
            return self.foreign(kind, territory)
        return classes.class_node(self, kind)

    def _method(self, value: MethodType, name: str, where: str) -> Node:
        node = self.node_for(value, leaf("method"))
        owner: type = value.__self__ if is_class(value.__self__) else type(value.__self__)  # type: ignore[assignment]
        function: Any = value.__func__
        if type(function) is FunctionType:
            node.edges["function"] = self.method(function, owner)
        else:
            node.edges["function"] = self.target(function, code_name(function), "function", where)
        node.edges["self"] = self.target(value.__self__, f"{name}.__self__", "global", where)
        return node

    def _wrapper(self, value: Any, name: str, where: str) -> Node | None:
        """Follow what an object of somebody else's type wraps: an `lru_cache`, a `partial`, a `property`."""
        kind = type(value)
        territory = self.territory(classes.module_of(kind))
        if territory.kind == OWN:
            return None
        wrapped = {name: item for name in _WRAPPED if callable(item := attribute(value, name))}
        if not wrapped:
            return None
        node = self.node_for(value, self.foreign(kind, territory))
        for place, item in wrapped.items():
            self.guard.attribute(value, place, item)
            node.edges[place] = self.target(item, code_name(item), "function", where)
        if kind is partial:
            node.edges["args"] = self.target(value.args, f"{name}.args", "global", where)
            node.edges["keywords"] = self.target(value.keywords, f"{name}.keywords", "global", where)
        return node

    def _value(self, value: object, name: str, kind: str, where: str, listed: bool) -> Node | bytes:
        reason = _NOT_CONTENT.get(f"{type(value).__module__}.{type(value).__qualname__}")
        if reason is not None:
            return self._by_type(value, name, where, reason if listed else "")
        meet = partial(stand_in, self.boundary)
        try:
            held = hold(value, name, meet)
        except HashError as error:
            culprit = error.culprit or type(value).__qualname__
            reason = f"{culprit} has no content to hash; it counts by its type"
            return self._by_type(value, name, where, reason if listed else "")
        self.part(name, kind, held.token, text=partial(shown_value, name, value))
        if held.code:
            self.guard.value(value, lambda again: hold(again, name, meet).identity(), held.identity())
        elif not is_frozen(value):
            self.guard.value(value, token, held.token)
        territory = self.territory(classes.module_of(type(value)))
        if not held.code and territory.kind != DISTRIBUTION:
            return held.token  # by value alone: whether two names share an object or have equal ones is no matter
        node = self.node_for(value, held.token)
        if territory.kind == DISTRIBUTION:
            node.edges["class"] = self.foreign(type(value), territory)
        for label, code in held.code:
            self.later(partial(self._edge, node, label, code, name))
        return node

    def _edge(self, node: Node, label: str, code: object, where: str) -> None:
        node.edges[label] = self.target(code, code_name(code), "function", where)

    def memory(self, value: object, name: str, where: str) -> Node:
        """Return what stands for a value that the code itself changes: its type, and that is listed."""
        self.unresolved(where, name, OWN_MEMORY)
        node = Node(leaf("memory", public_name(type(value))))
        node.edges["class"] = self.target(type(value), code_name(type(value)), "class", where)
        return node

    def _by_type(self, value: object, name: str, where: str, reason: str) -> Node:
        if reason:
            self.unresolved(where, name, reason)
        self._opaque.add(id(value))
        kind = type(value)
        node = self.node_for(value, leaf("opaque", public_name(kind)))
        self.part(name, "global", node.own, text=f"<{public_name(kind)}>")
        node.edges["class"] = self.target(kind, code_name(kind), "class", where)
        return node

    # modules, and what is not the user's own

    def territory(self, module: str, name: str = "") -> Territory:
        return territory_of(module, self.boundary, name)

    def is_own(self, kind: type) -> bool:
        """Whether a class is the user's own."""
        return self.territory(classes.module_of(kind), kind.__qualname__).kind == OWN

    def foreign(self, value: object, territory: Territory) -> bytes:
        """Return what stands for something that is not the user's own: its name, and its distribution's version."""
        name = public_name(value)
        return self._foreign(name, territory)

    def foreign_module(self, name: str, territory: Territory) -> bytes:
        """Return what stands for a module, perhaps not imported yet, that is not the user's own."""
        return self._foreign(public_module(name), territory)

    def _foreign(self, name: str, territory: Territory) -> bytes:
        if territory.kind == DISTRIBUTION:
            version = leaf(DISTRIBUTION, territory.name, territory.version)
            self.part(territory.name, DISTRIBUTION, version, text=territory.version)
        elif territory.kind == STDLIB and not name.startswith("builtins."):
            self.part(name, STDLIB, leaf(STDLIB, name))
        return leaf(territory.kind, territory.name, territory.version, name)

    def module(self, module: ModuleType, where: str) -> Node | bytes:
        """Return what stands for a module as a whole: all there is in it, if it is the user's own."""
        territory = self.territory(module.__name__)
        if territory.kind != OWN or not self.reach:
            return self.foreign(module, territory)
        node = self._nodes.get((id(module), id(None)))
        if node is None:
            node = self.node_for(module, leaf("module"))
            self.part(module.__name__, "module", node.own, file=getattr(module, "__file__", None) or "")
            self.guard.whole(vars(module))
            self.later(partial(self._fill_module, node, module))
        return node

    def _fill_module(self, node: Node, module: ModuleType) -> None:
        for name, value in sorted(vars(module).items()):
            if not name.startswith("__"):
                node.edges[name] = self.target(value, f"{module.__name__}.{name}", "global", module.__name__)
