"""Small questions to syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

IMPORTERS = frozenset({"import_module", "__import__"})


def chain_of(node: ast.expr) -> tuple[str, tuple[str, ...]] | None:
    """Return `a.b.c` as ("a", ("b", "c")), None for any other expression."""
    base, chain = attributes_of(node)
    return (base.id, chain) if isinstance(base, ast.Name) else None


def attributes_of(node: ast.expr) -> tuple[ast.expr, tuple[str, ...]]:
    """Return what attributes are read of, and which: `f(x).a.b` gives `f(x)` and ("a", "b")."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    attributes.reverse()
    return node, tuple(attributes)


def container_of(node: ast.expr) -> tuple[str, tuple[str, ...]] | None:
    """Return the name and attributes that lead to a value; of an item those that lead to the outermost container."""
    chain: tuple[str, ...] = ()
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            chain = (node.attr, *chain)
        elif isinstance(node, ast.Subscript):
            chain = ()
        else:
            return None
        node = node.value
    return node.id, chain


def last_name(function: ast.expr) -> str:
    """Return the name that a call ends with: `f` of `f()` and of `a.f()`."""
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def text_in(node: ast.expr) -> str | None:
    """Return the value of a literal text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def imported_by(call: ast.Call) -> str | None:
    """Return the module that `import_module("m")` or `__import__("m")` names, if it says so literally."""
    if last_name(call.func) not in IMPORTERS or len(call.args) != 1 or call.keywords:
        return None
    return text_in(call.args[0])


def parameters_of(arguments: ast.arguments) -> Iterable[tuple[str, ast.arg]]:
    """Give the parameters in order, each with a mark of its kind."""
    for mark, group in (
        ("/", arguments.posonlyargs),
        ("", arguments.args),
        ("*", [arguments.vararg] if arguments.vararg else []),
        ("=", arguments.kwonlyargs),
        ("**", [arguments.kwarg] if arguments.kwarg else []),
    ):
        for argument in group:
            yield mark, argument


def defaults_of(arguments: ast.arguments) -> Iterable[tuple[str, ast.expr]]:
    """Give the names of the parameters that have defaults, with their expressions."""
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from ((argument.arg, default) for argument, default in zip(positional[::-1], arguments.defaults[::-1]))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        if default is not None:
            yield argument.arg, default


def self_name(node: FunctionNode) -> str:
    """Return the name that a method has for its object, "" if it has none."""
    if isinstance(node, ast.Lambda):
        return ""
    if any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in node.decorator_list):
        return ""
    first = [*node.args.posonlyargs, *node.args.args][:1]
    return first[0].arg if first else ""


def first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Return the line on which a definition begins, with its decorators."""
    return node.decorator_list[0].lineno if node.decorator_list else node.lineno


def annotated_names(node: ast.ClassDef) -> set[str]:
    """Return the names that a class annotates, as far as its own body says."""
    return {
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


def repeated_names(node: ast.ClassDef) -> tuple[str, ...]:
    """Return the names of functions and classes that a class body defines more than once, perhaps under conditions."""
    seen: set[str] = set()
    repeated: set[str] = set()
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            (repeated if inner.name in seen else seen).add(inner.name)
        elif isinstance(inner, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            waiting += ast.iter_child_nodes(inner)
    return tuple(sorted(repeated))


def clean_docstring(text: str) -> str:
    """Return a docstring without what formatters change in it: indentation, and space at the ends of lines."""
    lines = [line.rstrip() for line in text.expandtabs().split("\n")]
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line), default=0)
    return "\n".join([lines[0].lstrip(), *(line[margin:] for line in lines[1:])]).strip()
