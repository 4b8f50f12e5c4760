"""Writing the parts of syntax that read, bind and change names, and noting which ones they are."""

from __future__ import annotations

import ast
from collections.abc import Callable

from flowstone.fingerprints.changed import changed_by_call
from flowstone.fingerprints.refs import ANNOTATION, CHANGED, DYNAMIC, GETATTR, IMPORT, NAME, SUPER
from flowstone.fingerprints.scopes import Scope
from flowstone.fingerprints.syntax import (
    IMPORTERS,
    attributes_of,
    chain_of,
    container_of,
    imported_by,
    last_name,
    text_in,
)
from flowstone.fingerprints.tree import TreeWriter, literal, scalar

UNREAD = ""  # the mode in which names are written but not read

_BLIND = frozenset({"eval", "exec", "globals"})
_LOAD = ast.Load
_WHEN_IT_RUNS = "is only known when it runs"


class NameWriter(TreeWriter):
    """Writes the form of a tree into `out` while it notes, scope by scope, which names are bound and read."""

    def __init__(self, class_name: str) -> None:
        super().__init__()
        self.class_name = class_name
        self.outer = self.scope = Scope("outer", None)
        self.mode = NAME

    def reading(self, mode: str, write: Callable[[], None]) -> None:
        """Write something whose names are read in another way than usual, or not at all."""
        before, self.mode = self.mode, mode
        write()
        self.mode = before

    def read(self, kind: str, root: str, chain: tuple[str, ...] = ()) -> None:
        if not self.mode:
            return
        if kind == NAME:
            kind = self.mode
        if self.class_name:
            root, chain = self.mangled(root), tuple(map(self.mangled, chain))
        self.scope.loads.append((kind, root, chain))

    def mangled(self, name: str) -> str:
        if self.class_name and name.startswith("__") and not name.endswith("__"):
            return f"_{self.class_name.lstrip('_')}{name}"
        return name

    def bind(self, name: str) -> None:
        self.scope.bind(self.mangled(name))

    # names

    def name(self, node: ast.Name) -> None:
        self.out.append(f"(Name {scalar(node.id)})")
        if type(node.ctx) is ast.Load:
            self.read(NAME, node.id)
            return
        self.bind(node.id)
        if node.id in self.scope.declared_global or node.id in self.scope.declared_nonlocal:
            self.read(CHANGED, node.id)

    def attribute(self, node: ast.Attribute) -> None:
        base, chain = attributes_of(node)
        if isinstance(base, ast.Name):
            self.out.append(f"(Chain {scalar(base.id)} {'.'.join(chain)})")
            if type(node.ctx) is ast.Load:
                self.read(NAME, base.id, chain)
            else:
                self.read(CHANGED, base.id, chain[:-1])
            return
        if type(node.ctx) is not ast.Load:
            self.changes(container_of(node.value))
        if isinstance(base, ast.Call):
            self.attribute_of_call(base, chain)
        else:
            self.out.append("(Of ")
            self.visit(base)
        self.out.append(f" {'.'.join(chain)})")

    def attribute_of_call(self, call: ast.Call, chain: tuple[str, ...]) -> None:
        """Write `super().x` or `import_module("m").x`, whose attribute can be followed, or that of any other call."""
        self.out.append("(Of ")
        module = imported_by(call)
        if last_name(call.func) == "super" and isinstance(call.func, ast.Name):
            self.read(SUPER, "super", chain[:1])
        elif module is not None:
            self.read(IMPORT, module, chain)
        else:
            self.visit(call)
            return
        self.plain(call)

    def call(self, node: ast.Call) -> None:
        self.changes(changed_by_call(node))
        last = last_name(node.func)
        plain_name = isinstance(node.func, ast.Name)
        if last in ("getattr", "hasattr") and plain_name and len(node.args) > 1:
            self.call_of_getattr(node, last)
            return
        if last == "super" and plain_name:
            self.read(SUPER, "super")
        elif last in IMPORTERS:
            module = imported_by(node)
            if module is None:
                self.read(DYNAMIC, ast.unparse(node), (last, f"the module {_WHEN_IT_RUNS}"))
            else:
                self.read(IMPORT, module)
        elif last in _BLIND and plain_name:
            self.read(DYNAMIC, ast.unparse(node), (last, f"what it reads {_WHEN_IT_RUNS}"))
        self.plain(node)

    def call_of_getattr(self, node: ast.Call, function: str) -> None:
        base, attribute = chain_of(node.args[0]), text_in(node.args[1])
        if attribute is None:
            self.read(DYNAMIC, ast.unparse(node), (function, f"the attribute's name {_WHEN_IT_RUNS}"))
            self.plain(node)
            return
        if base is None:
            self.plain(node)
            return
        self.out.append("(Getattr")
        self.visit(node.func)
        self.reading(UNREAD, lambda: self.visit(node.args[0]))
        self.read(GETATTR, base[0], (*base[1], attribute))
        self.items(node.args[1:])
        self.field("keywords", node.keywords)
        self.out.append(")")

    def changes(self, changed: tuple[str, tuple[str, ...]] | None) -> None:
        if changed is not None:
            self.read(CHANGED, *changed)

    def subscript(self, node: ast.Subscript) -> None:
        if type(node.ctx) is not ast.Load:
            self.changes(container_of(node.value))
        key = text_in(node.slice)
        if isinstance(node.value, ast.Call) and key is not None and chain_of(node.value.func) == ("globals", ()):
            self.out.append(f"(Global {scalar(key)})")
            self.read(NAME, "globals")
            if type(node.ctx) is ast.Load:
                self.outer.loads.append((NAME, key, ()))  # whatever the name means in this scope
            return
        if chain_of(node.value) == ("sys", ("modules",)):
            if key is None:
                self.read(DYNAMIC, ast.unparse(node), ("", f"the module {_WHEN_IT_RUNS}"))
            else:
                self.read(IMPORT, key)
        self.plain(node)

    def imports(self, node: ast.Import) -> None:
        """Write an import; one of several modules as one of each."""
        for place, alias in enumerate(node.names):
            top = alias.name.partition(".")[0]
            self.scope.bind_import(alias.asname or top, alias.name if alias.asname else top, ())
            self.out.append(f"{',' if place else ''}(Import {alias.name} as {scalar(alias.asname)})")

    def import_from(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            self.scope.bind_import(alias.asname or alias.name, module, (alias.name,))
        self.plain(node)

    def declaration(self, node: ast.Global | ast.Nonlocal) -> None:
        names = self.scope.declared_global if isinstance(node, ast.Global) else self.scope.declared_nonlocal
        names.update(map(self.mangled, node.names))
        self.plain(node)

    def augmented(self, node: ast.AugAssign) -> None:
        found = chain_of(node.target)
        if found is not None:
            self.read(NAME, *found)
        self.plain(node)

    def walrus(self, node: ast.NamedExpr) -> None:
        self.scope.outside_comprehensions().bind(self.mangled(node.target.id))
        self.out.append(f"(Walrus {scalar(node.target.id)} ")
        self.visit(node.value)
        self.out.append(")")

    def binder(self, node: ast.AST) -> None:
        """Write a node that binds the name in its field `name` or `rest`: a capture of `match`, or of `except`."""
        for field in ("name", "rest"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                self.bind(name)
        self.plain(node)

    # literals

    def constant(self, node: ast.Constant) -> None:
        self.out.append(f"(Constant {literal(node.value)})")
        if self.mode == ANNOTATION and type(node.value) is str:
            self.quoted_annotation(node.value)

    def quoted_annotation(self, text: str) -> None:
        try:
            tree = ast.parse(text, mode="eval")
        except (SyntaxError, ValueError):
            return
        out, self.out = self.out, []
        self.visit(tree.body)
        self.out = out

    def fstring(self, node: ast.JoinedStr) -> None:
        self.out.append("(JoinedStr ")
        text = ""
        for value in [*node.values, None]:
            if isinstance(value, ast.Constant):
                text += str(value.value)
                continue
            if text:
                self.out.append(scalar(text))
                text = ""
            if value is not None:
                self.visit(value)
        self.out.append(")")

    def formatted(self, node: ast.FormattedValue) -> None:
        self.out.append(f"(FormattedValue {node.conversion} ")
        self.visit(node.value)
        if isinstance(node.format_spec, ast.JoinedStr) and node.format_spec.values:
            self.visit(node.format_spec)
        self.out.append(")")
