"""What a function keeps between its calls: variables that it changes itself (docs/adr/0003)."""

from __future__ import annotations

from collections.abc import Collection
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from flowstone.fingerprints.plainly import is_class, is_module, is_runnable
from flowstone.fingerprints.refs import CHANGED, Ref

if TYPE_CHECKING:
    from flowstone.fingerprints.reach import Context

OWN_MEMORY: Final = "the function changes it itself, so its value does not count"


def is_memory(cell: CellType) -> bool:
    """Whether a closure variable that its function changes holds data, not code."""
    try:
        return _is_data(cell.cell_contents)
    except ValueError:
        return True


def remembers(refs: Collection[Ref], ref: Ref, context: Context) -> bool:
    """Whether `ref` reads a value that the same code changes: a variable's, or that of a module's attribute."""
    _, root, chain = ref
    for length in range(min(len(chain), 1) + 1):
        if (CHANGED, root, chain[:length]) in refs:
            found, value = _peek(root, chain[:length], context)
            if found and _is_data(value):
                return True
    return False


def _peek(root: str, chain: tuple[str, ...], context: Context) -> tuple[bool, Any]:
    """Look a value up as the code would, without asking any object for anything."""
    if root in context.cells:
        try:
            value: Any = context.cells[root].cell_contents
        except ValueError:
            return not chain, None
    elif root in context.namespace:
        value = context.namespace[root]
    else:
        return False, None
    for attribute in chain:
        if not is_module(value) or attribute not in vars(value):
            return False, None
        value = vars(value)[attribute]
    return True, value


def _is_data(value: Any) -> bool:
    return not (type(value) is FunctionType or is_class(value) or is_module(value) or is_runnable(value))
