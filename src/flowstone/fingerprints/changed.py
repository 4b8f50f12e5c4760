"""The outer variables that a function changes: they are its memory, not its code (docs/adr/0003).

Each call changes what the next would be keyed by, so their values cannot count; their names and types do.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

_CHANGING: Final = frozenset(
    {
        "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft",
        "put", "put_nowait", "remove", "reverse", "rotate", "set", "setdefault", "sort", "subtract", "symmetric_difference_update",
        "difference_update", "intersection_update", "update", "write", "writelines",
    }
)  # fmt: skip

_CHANGING_CALLS: Final = frozenset({"next", "setattr", "delattr"})

Chain = tuple[str, ...]


def changed_chains(function: ast.AST) -> frozenset[Chain]:
    """Return the names, with the attributes up to it, of every value that the code of `function` changes.

    A value is changed where it is rebound through `nonlocal` or `global`, assigned or deleted into, or told to change:
    by a method whose result is thrown away, or by one whose name says so.
    """
    rebindable = {
        name for node in ast.walk(function) if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names
    }
    return frozenset(chain for node in ast.walk(function) for chain in _changed_by(node, rebindable))


def _changed_by(node: ast.AST, rebindable: set[str]) -> Iterator[Chain]:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load) and node.id in rebindable:
            yield (node.id,)
    elif isinstance(node, ast.Subscript | ast.Attribute):
        if not isinstance(node.ctx, ast.Load):
            yield from _chain(node.value)
    elif isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            yield from _chain(node.value.func.value)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
            yield from _chain(node.func.value)
        elif isinstance(node.func, ast.Name) and node.func.id in _CHANGING_CALLS and node.args:
            yield from _chain(node.args[0])


def _chain(node: ast.expr) -> Iterator[Chain]:
    """Yield the names that lead to a value; for an item of a container, those that lead to the container."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            attributes.append(node.attr)
        else:
            attributes.clear()
        node = node.value
    if isinstance(node, ast.Name):
        yield (node.id, *reversed(attributes))
