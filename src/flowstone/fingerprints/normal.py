"""The normal form of a piece of syntax, and the names it reads.

The form is written from the syntax tree, so comments and layout are gone. What formatters rewrite and nothing depends
on is written one way: the layout of docstrings, the `u` of strings, the parentheses of `del`. Fields that are empty
are left out, and pieces of f-strings are joined, because Python versions differ there; so all of them give the same
form.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from flowstone.fingerprints.changed import changed_by_call
from flowstone.fingerprints.refs import ANNOTATION, CHANGED, DYNAMIC, GETATTR, IMPORT, NAME, SUPER, Ref
from flowstone.fingerprints.scopes import Scope
from flowstone.fingerprints.syntax import (
    IMPORTERS,
    FunctionNode,
    attributes_of,
    chain_of,
    clean_docstring,
    container_of,
    defaults_of,
    imported_by,
    last_name,
    parameters_of,
    self_name,
    text_in,
)
from flowstone.fingerprints.tree import USUAL, TreeWriter, literal, scalar

IsOurs = Callable[[ast.expr], bool]  # whether a decorator is one of flowstone's, whose options do not count

_BLIND = frozenset({"eval", "exec", "globals"})
_WHEN_IT_RUNS = "is only known when it runs"
_NOTHING = ""  # the mode in which names are written but not read


class Form:
    """What was made of a function or class: its form, the names it reads, and its default expressions apart."""

    __slots__ = ("defaults", "refs", "text")

    def __init__(self, text: str, refs: tuple[Ref, ...], defaults: dict[str, str]) -> None:
        self.text = text
        self.refs = refs
        self.defaults = defaults


def function_form(node: FunctionNode, is_ours: IsOurs, class_name: str = "", in_class: bool = False) -> Form:
    """Return the form of a function without its defaults, which count by value.

    `class_name` is the innermost class around it, for names that Python mangles; `in_class` says that it is a method.
    """
    writer = _Writer(is_ours, class_name)
    writer.function(node, root=True, in_class=in_class)
    defaults = {name: _expression(default, is_ours, class_name) for name, default in defaults_of(node.args)}
    return Form("".join(writer.out), writer.outer.refs(), defaults)


def class_form(node: ast.ClassDef, is_ours: IsOurs) -> Form:
    """Return the form of a whole class: its head, its attributes and all of its methods."""
    writer = _Writer(is_ours, "")
    writer.visit(node)
    return Form("".join(writer.out), writer.outer.refs(), {})


def _expression(node: ast.expr, is_ours: IsOurs, class_name: str) -> str:
    writer = _Writer(is_ours, class_name)
    writer.visit(node)
    return "".join(writer.out)


class _Writer(TreeWriter):
    """Writes the form of a tree into `out` while it notes, scope by scope, which names are bound and read."""

    def __init__(self, is_ours: IsOurs, class_name: str) -> None:
        super().__init__()
        self.is_ours = is_ours
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
        self.reading(_NOTHING, lambda: self.visit(node.args[0]))
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

    # statements

    def body(self, statements: list[ast.stmt]) -> None:
        self.out.append(" body=[")
        for statement in statements:
            self.visit(statement)
            self.out.append(",")
        self.out.append("]")

    def expression(self, node: ast.Expr) -> None:
        """Write an expression that is a statement; a text there is a docstring, or as good as a comment."""
        text = text_in(node.value)
        if text is None:
            self.plain(node)
        else:
            self.out.append(f"(Doc {scalar(clean_docstring(text))})")

    def delete(self, node: ast.Delete) -> None:
        targets: list[ast.expr] = []
        for target in node.targets:
            targets += target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        self.out.append("(Delete ")
        self.items(targets)
        self.out.append(")")

    def annotated(self, node: ast.AnnAssign) -> None:
        """Write `x: T = v`; a function never evaluates the annotations of its local variables."""
        self.out.append(f"(AnnAssign {node.simple}")
        self.field("target", node.target)
        mode = _NOTHING if self.scope.kind == "function" else ANNOTATION
        self.reading(mode, lambda: self.field("annotation", node.annotation))
        self.field("value", node.value)
        self.out.append(")")

    def alias_type(self, node: ast.AST) -> None:
        self.reading(ANNOTATION, lambda: self.plain(node))

    # scopes

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.bind(node.name)
        self.function(node)

    def function(self, node: FunctionNode, *, root: bool = False, in_class: bool = False) -> None:
        around = self.scope
        self.out.append(f"({type(node).__name__} ")
        if not isinstance(node, ast.Lambda):
            self.out.append(scalar(node.name))
            # The decorators of a method may read names of the class body, which nobody can look up later.
            self.reading(ANNOTATION if in_class else self.mode, lambda: self.decorators(node.decorator_list))
        if not root:
            self.field("defaults", node.args.defaults)
            self.field("kw_defaults", node.args.kw_defaults)
        self.type_parameters(node)
        inner = Scope("function", self.scope)
        inner.self_name = self_name(node) if in_class else ""
        inner.is_root = root
        self.reading(ANNOTATION, lambda: self.signature(node, inner))
        self.scope = inner
        if isinstance(node, ast.Lambda):
            self.field("body", node.body)
        else:
            self.body(node.body)
        self.scope = around
        self.out.append(")")

    def decorators(self, nodes: list[ast.expr]) -> None:
        self.field("decorators", [node for node in nodes if not self.is_ours(node)])

    def signature(self, node: FunctionNode, inner: Scope) -> None:
        for mark, argument in parameters_of(node.args):
            inner.bind(self.mangled(argument.arg))
            self.out.append(f"(arg {mark} {argument.arg}")
            self.field("annotation", argument.annotation)
            self.out.append(")")
        if not isinstance(node, ast.Lambda):
            self.field("returns", node.returns)

    def type_parameters(self, node: ast.AST) -> None:
        parameters = getattr(node, "type_params", None)
        if parameters:
            self.scope = Scope("function", self.scope)
            for parameter in parameters:
                self.bind(parameter.name)
            self.reading(ANNOTATION, lambda: self.field("type_params", parameters))

    def class_(self, node: ast.ClassDef) -> None:
        around, class_name = self.scope, self.class_name
        self.bind(node.name)
        self.out.append(f"(ClassDef {scalar(node.name)}")
        self.decorators(node.decorator_list)
        self.type_parameters(node)
        self.field("bases", node.bases)
        self.field("keywords", node.keywords)
        self.scope, self.class_name = Scope("class", self.scope), node.name
        self.body(node.body)
        self.scope, self.class_name = around, class_name
        self.out.append(")")

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self.out.append(f"({type(node).__name__} ")
        self.visit(node.generators[0].iter)  # the outermost iterable is evaluated outside
        around = self.scope
        self.scope = Scope("comprehension", around)
        for place, generator in enumerate(node.generators):
            self.out.append(f"(for {generator.is_async}")
            self.field("target", generator.target)
            if place:
                self.field("iter", generator.iter)
            self.field("ifs", generator.ifs)
            self.out.append(")")
        for part in ("key", "value", "elt"):
            self.field(part, getattr(node, part, None))
        self.scope = around
        self.out.append(")")


_Writer.handlers = {
    **USUAL,
    ast.Name: _Writer.name,
    ast.Attribute: _Writer.attribute,
    ast.Call: _Writer.call,
    ast.Subscript: _Writer.subscript,
    ast.Import: _Writer.imports,
    ast.ImportFrom: _Writer.import_from,
    ast.Global: _Writer.declaration,
    ast.Nonlocal: _Writer.declaration,
    ast.AugAssign: _Writer.augmented,
    ast.NamedExpr: _Writer.walrus,
    ast.ExceptHandler: _Writer.binder,
    ast.MatchAs: _Writer.binder,
    ast.MatchStar: _Writer.binder,
    ast.MatchMapping: _Writer.binder,
    ast.Constant: _Writer.constant,
    ast.JoinedStr: _Writer.fstring,
    ast.FormattedValue: _Writer.formatted,
    ast.Expr: _Writer.expression,
    ast.Delete: _Writer.delete,
    ast.AnnAssign: _Writer.annotated,
    ast.FunctionDef: _Writer.definition,
    ast.AsyncFunctionDef: _Writer.definition,
    ast.Lambda: _Writer.function,
    ast.ClassDef: _Writer.class_,
    ast.ListComp: _Writer.comprehension,
    ast.SetComp: _Writer.comprehension,
    ast.GeneratorExp: _Writer.comprehension,
    ast.DictComp: _Writer.comprehension,
}
if (_type_alias := getattr(ast, "TypeAlias", None)) is not None:  # from Python 3.12 on
    _Writer.handlers[_type_alias] = _Writer.alias_type
