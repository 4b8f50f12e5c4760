"""The normal form of a piece of syntax, and the names it reads.

The form is written from the syntax tree, so comments and layout are gone. What formatters rewrite and nothing depends
on is written one way: the layout of docstrings, the `u` of strings, the parentheses of `del`. Fields that are empty
are left out, and pieces of f-strings are joined, because Python versions differ there; so all of them give the same
form.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from flowstone.fingerprints.naming import UNREAD, NameWriter
from flowstone.fingerprints.refs import ANNOTATION, Ref
from flowstone.fingerprints.scopes import Scope
from flowstone.fingerprints.syntax import FunctionNode, clean_docstring, defaults_of, parameters_of, self_name, text_in
from flowstone.fingerprints.tree import USUAL, scalar

IsOurs = Callable[[ast.expr], bool]  # whether a decorator is one of flowstone's, whose options do not count


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


class _Writer(NameWriter):
    """Writes statements and definitions, each in its scope."""

    def __init__(self, is_ours: IsOurs, class_name: str) -> None:
        super().__init__(class_name)
        self.is_ours = is_ours

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
        mode = UNREAD if self.scope.kind == "function" else ANNOTATION
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
