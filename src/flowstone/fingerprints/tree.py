"""Writing any syntax tree in one way, on every Python version."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, ClassVar

_SKIPPED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class TreeWriter:
    """Writes trees into `out`: each node by its type and the fields that are not empty.

    `handlers` says which nodes a subclass writes in another way.
    """

    handlers: ClassVar[dict[type[ast.AST], Callable[[Any, Any], None]]]

    def __init__(self) -> None:
        self.out: list[str] = []

    def visit(self, node: ast.AST) -> None:
        self.handlers[type(node)](self, node)

    def plain(self, node: ast.AST) -> None:
        """Write a node with nothing special about it. It runs for every node, so it does not call `visit`."""
        out, handlers = self.out, self.handlers
        head, fields = SHAPES[type(node)]
        out.append(head)
        for label, field in fields:
            value = getattr(node, field, None)
            if value is None:
                continue
            if type(value) is list:
                if value:
                    out.append(label)
                    self.items(value)
            elif isinstance(value, ast.AST):
                out.append(label)
                handlers[type(value)](self, value)
            else:
                out.append(label)
                out.append(scalar(value))
        out.append(")")

    def childless(self, node: ast.AST) -> None:
        self.out.append(SHAPES[type(node)][0])

    def items(self, values: list[Any]) -> None:
        out, handlers = self.out, self.handlers
        out.append("[")
        for value in values:
            if isinstance(value, ast.AST):
                handlers[type(value)](self, value)
            else:
                out.append(scalar(value))
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


def scalar(value: object) -> str:
    """Write a name, a number or nothing: text has its length before it, so that it can imitate nothing."""
    if isinstance(value, str):
        return f"{len(value)}:{value}"
    return "-" if value is None else str(value)


def literal(value: object) -> str:
    if type(value) is str:
        return f"str {scalar(value)}"
    if type(value) is int:
        return f"int {value:x}"
    if type(value) is bytes:
        return f"bytes {value.hex()}"
    return f"{type(value).__name__} {value!r}"


def _shape(kind: type[ast.AST]) -> tuple[str, tuple[tuple[str, str], ...]]:
    fields = tuple((f" {field}=", field) for field in kind._fields if field not in _SKIPPED_FIELDS)
    return (f"({kind.__name__}" if fields else f"({kind.__name__})", fields)


SHAPES = {kind: _shape(kind) for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.AST)}

USUAL: dict[type[ast.AST], Callable[[Any, Any], None]] = {
    kind: TreeWriter.plain if fields else TreeWriter.childless for kind, (_, fields) in SHAPES.items()
}
