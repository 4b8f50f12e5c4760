"""Which decorators are flowstone's own, so that their options do not count."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import MethodType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast

    from flowstone.fingerprints.texts import Place, Text


def decorator_test(text: Text, place: Place, namespace: Mapping[str, object]) -> Callable[[ast.expr], bool]:
    """Return a test whether a decorator is flowstone's own, however it is spelled.

    What the name is now decides; where it has become something else since, the last import of it above the decorator does.
    """
    import ast

    from flowstone.fingerprints.normal import chain_of

    def is_ours(decorator: ast.expr) -> bool:
        while isinstance(decorator, ast.Call):
            decorator = decorator.func
        found = chain_of(decorator)
        if found is None:
            return False
        root, chain = found
        return _is_flowstones(namespace.get(root), chain) or _was_imported(text, place, root, decorator.lineno)

    return is_ours


def _is_flowstones(value: object, chain: tuple[str, ...]) -> bool:
    for attribute in chain:
        if isinstance(value, ModuleType):
            value = vars(value).get(attribute)
        elif _comes_from_flowstone(value):
            value = getattr(value, attribute, None)
        else:
            return False
    return _comes_from_flowstone(value)


def _comes_from_flowstone(value: object) -> bool:
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, MethodType):
        value = value.__self__
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0] == "flowstone"
    module = getattr(
        value if hasattr(value, "__code__") or isinstance(value, type) else type(value), "__module__", None
    )
    return isinstance(module, str) and module.partition(".")[0] == "flowstone"


def _was_imported(text: Text, place: Place, name: str, line: int) -> bool:
    """Whether the innermost scope that binds the name above the line did so, at last, by an import from flowstone."""
    for scope in (*reversed(place.around), text.tree):
        bindings = [binding for binding in _bindings(scope.body, name) if binding[0] < line]  # type: ignore[attr-defined]
        if bindings:
            return max(bindings)[1]
    return False


def _bindings(statements: list[ast.stmt], name: str) -> Iterator[tuple[int, bool]]:
    """Give the lines on which statements of one scope bind the name, and whether that imports it from flowstone."""
    import ast

    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name == name:
                yield node.lineno, False
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    yield node.lineno, alias.name.partition(".")[0] == "flowstone"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield node.lineno, not node.level and (node.module or "").partition(".")[0] == "flowstone"
        elif isinstance(node, ast.Name):
            if node.id == name and not isinstance(node.ctx, ast.Load):
                yield node.lineno, False
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
