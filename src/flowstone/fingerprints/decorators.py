"""Which decorators are flowstone's own, so that their options do not count."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from flowstone.fingerprints.plainly import is_class, is_module

if TYPE_CHECKING:
    import ast

    from flowstone.fingerprints.texts import Place, Text


class Decorators:
    """Tells the decorators in one definition apart, however they are spelled.

    What a name is now decides; where it has become something else since, the last import of it above the decorator
    does. `looked_up` keeps what the names were now.
    """

    def __init__(self, text: Text, place: Place, namespace: Mapping[str, Any]) -> None:
        self._text = text
        self._place = place
        self._namespace = namespace
        self.looked_up: dict[str, bool] = {}

    def is_ours(self, decorator: ast.expr) -> bool:
        """Whether a decorator is flowstone's."""
        import ast

        from flowstone.fingerprints.syntax import chain_of

        while isinstance(decorator, ast.Call):
            decorator = decorator.func
        found = chain_of(decorator)
        if found is None:
            return False
        name = ".".join((found[0], *found[1]))
        ours = self.looked_up[name] = is_flowstones(self._namespace, name)
        return ours or _was_imported(self._text, self._place, found[0], decorator.lineno)


def is_flowstones(namespace: Mapping[str, Any], name: str) -> bool:
    """Whether a dotted name means something of flowstone's now."""
    root, *chain = name.split(".")
    value = namespace.get(root)
    for attribute in chain:
        if is_module(value):
            value = vars(value).get(attribute)
        elif _comes_from_flowstone(value):
            value = getattr(value, attribute, None)
        else:
            return False
    return _comes_from_flowstone(value)


def _comes_from_flowstone(value: Any) -> bool:
    while type(value) is functools.partial:
        value = value.func
    if type(value) is MethodType:
        value = value.__self__
    if is_module(value):
        return _is_ours(value.__name__)
    named = type(value) is FunctionType or is_class(value)
    return _is_ours(value.__module__ if named else type(value).__module__)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "flowstone"


def _was_imported(text: Text, place: Place, name: str, line: int) -> bool:
    """Whether the innermost scope that binds the name above the line did so, at last, by an import from flowstone."""
    for scope in (*reversed(place.around), text.tree):
        bindings = [binding for binding in _bindings(scope.body, name) if binding[0] < line]
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
                    yield node.lineno, _is_ours(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield node.lineno, not node.level and _is_ours(node.module)
        elif isinstance(node, ast.Name):
            if node.id == name and not isinstance(node.ctx, ast.Load):
                yield node.lineno, False
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
