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


def changed_names(function: ast.AST) -> frozenset[str]:
    """Return the names that the code of `function` changes the values of, whoever's they are.

    Rebound through `nonlocal` or `global`, assigned or deleted into, or told to change: by a method whose result is
    thrown away, or by one whose name says so.
    """
    rebindable = {
        name for node in ast.walk(function) if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names
    }
    found: set[str] = set()
    for node in ast.walk(function):
        found.update(_changed_by(node, rebindable))
    return frozenset(found)


def _changed_by(node: ast.AST, rebindable: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load) and node.id in rebindable:
            yield node.id
    elif isinstance(node, ast.Subscript | ast.Attribute):
        if not isinstance(node.ctx, ast.Load):
            yield from _root(node.value)
    elif isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            yield from _root(node.value.func.value)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
            yield from _root(node.func.value)
        elif isinstance(node.func, ast.Name) and node.func.id in ("next", "setattr", "delattr") and node.args:
            yield from _root(node.args[0])


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
