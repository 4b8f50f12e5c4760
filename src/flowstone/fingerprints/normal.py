"""The normal form of a piece of syntax, and the names it reads.

The form is written from the syntax tree, so comments and layout are gone. What formatters rewrite and nothing depends on is
written one way: the layout of docstrings, the `u` of strings, the parentheses of `del`. Fields that are empty are left out, and
pieces of f-strings are joined, because Python versions differ there; so the form is the same on all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from flowstone.fingerprints.refs import ANNOTATION, DYNAMIC, GETATTR, IMPORT, NAME, SUPER, TOUCH, Ref
from flowstone.fingerprints.scopes import Scope

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
IsOurs = Callable[[ast.expr], bool]  # whether a decorator is one of flowstone's, whose options do not count

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_IMPORTERS = frozenset({"import_module", "__import__"})
_BLIND = frozenset({"eval", "exec", "globals"})
_SKIPPED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class Form:
    """What was made of one function or class: its normal form, the names it reads, and its default expressions apart."""

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
    defaults = _default_forms(node, is_ours, class_name)
    writer.function(node, root=True, in_class=in_class)
    return Form("".join(writer.out), writer.outer.refs(), defaults)


def class_form(node: ast.ClassDef, is_ours: IsOurs) -> Form:
    """Return the form of a whole class: its head, its attributes and all of its methods."""
    writer = _Writer(is_ours, "")
    writer.visit(node)
    return Form("".join(writer.out), writer.outer.refs(), {})


def clean_docstring(text: str) -> str:
    """Return a docstring without what formatters change in it: indentation, and space at the ends of lines."""
    lines = [line.rstrip() for line in text.expandtabs().split("\n")]
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line), default=0)
    return "\n".join([lines[0].lstrip(), *(line[margin:] for line in lines[1:])]).strip()


def chain_of(node: ast.expr) -> tuple[str, tuple[str, ...]] | None:
    """Return `a.b.c` as ("a", ("b", "c")), None for any other expression."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, tuple(reversed(attributes))) if isinstance(node, ast.Name) else None


def _default_forms(node: FunctionNode, is_ours: IsOurs, class_name: str) -> dict[str, str]:
    forms = {}
    for name, default in _defaults(node.args):
        writer = _Writer(is_ours, class_name)
        writer.visit(default)
        forms[name] = "".join(writer.out)
    return forms


def _defaults(arguments: ast.arguments) -> Iterable[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    for argument, default in zip(reversed(positional), reversed(arguments.defaults)):
        yield argument.arg, default
    for argument, keyword_default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        if keyword_default is not None:
            yield argument.arg, keyword_default


def _is_static(node: FunctionNode) -> bool:
    if isinstance(node, ast.Lambda):
        return True
    return any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in node.decorator_list)


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(field for field in kind._fields if field not in _SKIPPED_FIELDS)


class _Writer:
    """Writes the form of a tree into `out` while it notes, scope by scope, which names are bound and read."""

    def __init__(self, is_ours: IsOurs, class_name: str) -> None:
        self.out: list[str] = []
        self.is_ours = is_ours
        self.class_name = class_name
        self.outer = self.scope = Scope("outer", None)
        self.mode = NAME  # what kind of reading a loaded name is; "" where nothing is evaluated

    # the tree in general

    def visit(self, node: ast.AST) -> None:
        handler = _HANDLERS.get(type(node))
        if handler is not None:
            handler(self, node)
        else:
            self.plain(node)

    def plain(self, node: ast.AST) -> None:
        kind = type(node)
        fields = _FIELDS.get(kind)
        if fields is None:
            fields = _FIELDS[kind] = _fields(kind)
        out = self.out
        out.append(f"({kind.__name__}")
        for field in fields:
            value = getattr(node, field, None)
            if value is None:
                continue
            if isinstance(value, ast.AST):
                out.append(f" {field}=")
                handler = _HANDLERS.get(type(value))
                if handler is not None:
                    handler(self, value)
                else:
                    self.plain(value)
            elif type(value) is list:
                if value:
                    out.append(f" {field}=")
                    self.items(value)
            else:
                out.append(f" {field}={_scalar(value)}")
        out.append(")")

    def items(self, values: list[object]) -> None:
        out = self.out
        out.append("[")
        for value in values:
            if isinstance(value, ast.AST):
                handler = _HANDLERS.get(type(value))
                if handler is not None:
                    handler(self, value)
                else:
                    self.plain(value)
            else:
                out.append(_scalar(value))
            out.append(",")
        out.append("]")

    def field(self, name: str, value: object) -> None:
        """Write one field, unless it is empty."""
        if isinstance(value, ast.AST):
            self.out.append(f" {name}=")
            self.visit(value)
        elif type(value) is list and value:
            self.out.append(f" {name}=")
            self.items(value)

    def read(self, kind: str, root: str, chain: tuple[str, ...] = ()) -> None:
        if self.mode:
            if self.mode == ANNOTATION and kind == NAME:
                kind = ANNOTATION
            self.scope.loads.append((kind, self.mangled(root), tuple(map(self.mangled, chain))))

    def mangled(self, name: str) -> str:
        if self.class_name and name.startswith("__") and not name.endswith("__"):
            return f"_{self.class_name.lstrip('_')}{name}"
        return name

    # names

    def name(self, node: ast.Name) -> None:
        self.out.append(f"(Name {_scalar(node.id)})")
        if isinstance(node.ctx, ast.Load):
            self.read(NAME, node.id)
        else:
            self.scope.bind(self.mangled(node.id))

    def attribute(self, node: ast.Attribute) -> None:
        found = chain_of(node)
        if found is not None:
            root, chain = found
            self.out.append(f"(Chain {_scalar(root)} {'.'.join(chain)})")
            self.read(NAME if isinstance(node.ctx, ast.Load) else TOUCH, root, chain)
            return
        if not self._called_chain(node):
            self.plain(node)

    def _called_chain(self, node: ast.Attribute) -> bool:
        """Write `super().x` or `import_module("m").x`, whose attribute can be followed; false for anything else."""
        attributes = [node.attr]
        base = node.value
        while isinstance(base, ast.Attribute):
            attributes.append(base.attr)
            base = base.value
        if not isinstance(base, ast.Call):
            return False
        chain = tuple(reversed(attributes))
        if isinstance(base.func, ast.Name) and base.func.id == "super":
            self.read(SUPER, "super", chain[:1])
        elif (module := _imported(base)) is not None:
            self.read(IMPORT, module, chain)
        else:
            return False
        self.out.append(f"(Of {'.'.join(chain)} ")
        self.plain(base)
        self.out.append(")")
        return True

    def call(self, node: ast.Call) -> None:
        function = node.func
        last = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if last in ("getattr", "hasattr") and isinstance(function, ast.Name) and len(node.args) > 1:
            self._getattr(node, last)
            return
        if last == "super" and isinstance(function, ast.Name):
            self.read(SUPER, "super")
        elif last in _IMPORTERS:
            module = _imported(node)
            if module is None:
                self.read(DYNAMIC, ast.unparse(node), (last, "the module is only known when it runs"))
            else:
                self.read(IMPORT, module)
        elif last in _BLIND and isinstance(function, ast.Name):
            self.read(DYNAMIC, ast.unparse(node), (last, "what it reads is only known when it runs"))
        self.plain(node)

    def _getattr(self, node: ast.Call, function: str) -> None:
        base, attribute = chain_of(node.args[0]), node.args[1]
        if not isinstance(attribute, ast.Constant) or type(attribute.value) is not str:
            self.read(DYNAMIC, ast.unparse(node), (function, "the attribute's name is only known when it runs"))
            self.plain(node)
        elif base is None:
            self.plain(node)
        else:
            self.read(GETATTR, base[0], (*base[1], attribute.value))
            loads = self.scope.loads
            before = len(loads)
            self.plain(node)
            loads[before:] = [load for load in loads[before:] if load != (NAME, *base)]

    def subscript(self, node: ast.Subscript) -> None:
        key = node.slice
        if isinstance(key, ast.Constant) and type(key.value) is str:
            if isinstance(node.value, ast.Call) and chain_of(node.value.func) == ("globals", ()):
                self.out.append(f"(Global {_scalar(key.value)})")
                if isinstance(node.ctx, ast.Load):
                    self.outer.loads.append((NAME, key.value, ()))  # whatever the name means in this scope
                return
            if chain_of(node.value) == ("sys", ("modules",)):
                self.read(IMPORT, key.value)
        elif chain_of(node.value) == ("sys", ("modules",)):
            self.read(DYNAMIC, ast.unparse(node), ("", "the module is only known when it runs"))
        self.plain(node)

    def imports(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.asname:
                self.scope.bind_import(alias.asname, alias.name, ())
            else:
                self.scope.bind_import(alias.name.partition(".")[0], alias.name.partition(".")[0], ())
        self.plain(node)

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
        self.out.append(f"(Walrus {_scalar(node.target.id)} ")
        self.visit(node.value)
        self.out.append(")")

    def binder(self, node: ast.AST) -> None:
        """Write a node that binds the name in its field `name` or `rest`: a capture of `match`, or of `except`."""
        for field in ("name", "rest"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                self.scope.bind(self.mangled(name))
        self.plain(node)

    # literals

    def constant(self, node: ast.Constant) -> None:
        self.out.append(f"(Constant {_literal(node.value)})")
        if self.mode == ANNOTATION and type(node.value) is str:
            self._quoted_annotation(node.value)

    def _quoted_annotation(self, text: str) -> None:
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
        for value in node.values:
            if isinstance(value, ast.Constant):
                text += value.value
                continue
            if text:
                self.out.append(_scalar(text))
                text = ""
            self.visit(value)
        if text:
            self.out.append(_scalar(text))
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
        first = statements[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str:
            self.out.append(f"(Doc {_scalar(clean_docstring(first.value.value))}),")
            statements = statements[1:]
        for statement in statements:
            self.visit(statement)
            self.out.append(",")
        self.out.append("]")

    def delete(self, node: ast.Delete) -> None:
        targets: list[object] = []
        for target in node.targets:
            targets += target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        self.out.append("(Delete ")
        self.items(targets)
        self.out.append(")")

    def annotated(self, node: ast.AnnAssign) -> None:
        """Write `x: T = v`; a function never evaluates the annotations of its local variables."""
        self.out.append(f"(AnnAssign {node.simple}")
        self.field("target", node.target)
        self.annotation(node.annotation, "" if self.scope.kind == "function" else ANNOTATION)
        self.field("value", node.value)
        self.out.append(")")

    def annotation(self, node: ast.expr | None, mode: str = ANNOTATION) -> None:
        before, self.mode = self.mode, mode
        self.field("annotation", node)
        self.mode = before

    def alias_type(self, node: ast.AST) -> None:
        before, self.mode = self.mode, ANNOTATION
        self.plain(node)
        self.mode = before

    # scopes

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.bind(self.mangled(node.name))
        self.function(node)

    def function(self, node: FunctionNode, *, root: bool = False, in_class: bool = False) -> None:
        self.out.append(f"({type(node).__name__} ")
        if not isinstance(node, ast.Lambda):
            self.out.append(_scalar(node.name))
            # The decorators of a method may read names of the class body, which nobody can look up later.
            self.decorators(node.decorator_list, ANNOTATION if in_class else self.mode)
        if not root:
            self.field("defaults", node.args.defaults)
            self.field("kw_defaults", node.args.kw_defaults)
        around = self.scope
        self.type_parameters(node)
        inner = Scope("function", self.scope)
        self.parameters(node.args, inner)
        if in_class and not _is_static(node):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            inner.self_name = names[0] if names else ""
        if not isinstance(node, ast.Lambda):
            self.annotation(node.returns)
        self.scope = inner
        if isinstance(node, ast.Lambda):
            self.field("body", node.body)
        else:
            self.body(node.body)
        self.scope = around
        self.out.append(")")

    def decorators(self, nodes: list[ast.expr], mode: str) -> None:
        before, self.mode = self.mode, mode
        self.field("decorators", [node for node in nodes if not self.is_ours(node)])
        self.mode = before

    def parameters(self, arguments: ast.arguments, inner: Scope) -> None:
        for mark, group in (
            ("/", arguments.posonlyargs),
            ("", arguments.args),
            ("*", [arguments.vararg] if arguments.vararg else []),
            ("=", arguments.kwonlyargs),
            ("**", [arguments.kwarg] if arguments.kwarg else []),
        ):
            for argument in group:
                inner.bind(self.mangled(argument.arg))
                self.out.append(f"(arg {mark} {argument.arg}")
                self.annotation(argument.annotation)
                self.out.append(")")

    def type_parameters(self, node: ast.AST) -> None:
        parameters = getattr(node, "type_params", None)
        if not parameters:
            return
        self.scope = Scope("function", self.scope)
        for parameter in parameters:
            self.scope.bind(parameter.name)
        before, self.mode = self.mode, ANNOTATION
        self.field("type_params", parameters)
        self.mode = before

    def class_(self, node: ast.ClassDef) -> None:
        self.scope.bind(self.mangled(node.name))
        self.out.append(f"(ClassDef {_scalar(node.name)}")
        self.decorators(node.decorator_list, self.mode)
        around = self.scope
        self.type_parameters(node)
        self.field("bases", node.bases)
        self.field("keywords", node.keywords)
        self.scope = Scope("class", self.scope)
        class_name, self.class_name = self.class_name, node.name
        self.body(node.body)
        self.class_name = class_name
        self.scope = around
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


def _imported(call: ast.Call) -> str | None:
    """Return the module that `import_module("m")` or `__import__("m")` names, if it says so literally."""
    last = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if last not in _IMPORTERS or len(call.args) != 1 or call.keywords:
        return None
    name = call.args[0]
    return name.value if isinstance(name, ast.Constant) and type(name.value) is str else None


def _scalar(value: object) -> str:
    """Write a name, a number or nothing: text has its length before it, so that it can imitate nothing."""
    if isinstance(value, str):
        return f"{len(value)}:{value}"
    return "-" if value is None else str(value)


def _literal(value: object) -> str:
    kind = type(value)
    if kind is str:
        return f"str {_scalar(value)}"
    if kind is int:
        return f"int {value:x}"
    if kind is bytes:
        return f"bytes {value.hex()}"  # type: ignore[attr-defined]
    return f"{kind.__name__} {value!r}"


_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}
_HANDLERS: dict[type[ast.AST], Callable[[_Writer, ast.AST], None]] = {  # type: ignore[assignment]
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
    ast.Delete: _Writer.delete,
    ast.AnnAssign: _Writer.annotated,
    ast.FunctionDef: _Writer.definition,
    ast.AsyncFunctionDef: _Writer.definition,
    ast.Lambda: _Writer.function,
    ast.ClassDef: _Writer.class_,
    **dict.fromkeys(_COMPREHENSIONS, _Writer.comprehension),
}
if hasattr(ast, "TypeAlias"):
    _HANDLERS[ast.TypeAlias] = _Writer.alias_type
