"""Which names a piece of syntax reads from outside, by Python's rules of scope.

Worked out from the tree and not from bytecode, so that every Python version gives the same answer.
"""

from __future__ import annotations

from flowstone.fingerprints.refs import (
    ANNOTATION,
    CHANGED,
    CHANGED_DEFAULT,
    CHANGED_SELF,
    DYNAMIC,
    IMPORT,
    NAME,
    SELF,
    SUPER,
    Ref,
)


class Scope:
    """One scope: the names it binds, and those it reads. `kind` is outer, function, class or comprehension."""

    __slots__ = (
        "bound",
        "children",
        "declared_global",
        "declared_nonlocal",
        "imports",
        "is_root",
        "kind",
        "loads",
        "parent",
        "self_name",
    )

    def __init__(self, kind: str, parent: Scope | None) -> None:
        self.kind = kind
        self.parent = parent
        self.children: list[Scope] = []
        self.bound: set[str] = set()
        self.imports: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self.declared_global: set[str] = set()
        self.declared_nonlocal: set[str] = set()
        self.loads: list[Ref] = []
        self.self_name = ""
        self.is_root = False  # whether its parameters are those of the function asked about
        if parent is not None:
            parent.children.append(self)

    def bind(self, name: str) -> None:
        self.bound.add(name)

    def bind_import(self, name: str, module: str, chain: tuple[str, ...]) -> None:
        self.bound.add(name)
        self.imports.setdefault(name, []).append((module, chain))

    def outside_comprehensions(self) -> Scope:
        """Return the scope in which `:=` binds."""
        scope = self
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        return scope

    def refs(self) -> tuple[Ref, ...]:
        """Return what this scope and those in it read from outside of all of them, each once and in order."""
        found: set[Ref] = set()
        waiting = [self]
        while waiting:
            scope = waiting.pop()
            for load in scope.loads:
                found.update(_outside(scope, load))
            waiting += scope.children
        return tuple(sorted(found))


def _outside(scope: Scope, load: Ref) -> list[Ref]:
    kind, name, chain = load
    if kind in (IMPORT, DYNAMIC):
        return [load]
    owner = _owner(scope, name)
    if owner is None or owner.kind == "outer":
        return [load]
    if kind == CHANGED:
        return _changed_local(owner, name)
    if name in owner.imports:
        return [(IMPORT, module, (*path, *chain)) for module, path in owner.imports[name]]
    if kind == SUPER:
        return []
    if name == owner.self_name:
        return [(SELF, name, chain[:1])]
    if owner.kind == "class" and owner is scope:
        return [
            (ANNOTATION if kind == NAME else kind, name, chain)
        ]  # bound further down, perhaps; then read from outside
    return []


def _changed_local(owner: Scope, name: str) -> list[Ref]:
    """What a function changes of its own ends with it, but for its object and for defaults."""
    if name == owner.self_name:
        return [(CHANGED_SELF, name, ())]
    return [(CHANGED_DEFAULT, name, ())] if owner.is_root else []


def _owner(scope: Scope, name: str) -> Scope | None:
    """Return the scope that binds a name as seen from `scope`, or None if none of ours does."""
    seen_from: Scope | None = scope
    while seen_from is not None:
        if name in seen_from.declared_global:
            return None
        visible = seen_from.kind != "class" or seen_from is scope
        if visible and name in seen_from.bound and name not in seen_from.declared_nonlocal:
            return seen_from
        seen_from = seen_from.parent
    return None
