"""The outer values that a piece of code changes: they are its memory, not its code (docs/adr/0003).

Each call changes what the next would be keyed by, so they cannot count by value; their names and types do.
"""

from __future__ import annotations

import ast

from flowstone.fingerprints.syntax import container_of, last_name

_METHODS = frozenset(
    {
        *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "move_to_end", "pop"),
        *("popitem", "popleft", "put", "put_nowait", "remove", "reverse", "rotate", "set", "setdefault", "sort"),
        *("subtract", "update", "symmetric_difference_update", "difference_update", "intersection_update"),
        *("write", "writelines"),
    }
)
_FUNCTIONS = frozenset(
    {
        *("next", "setattr", "delattr", "shuffle", "insort"),
        *("heappush", "heappop", "heappushpop", "heapreplace", "heapify"),
    }
)

Chain = tuple[str, tuple[str, ...]]


def changed_by_call(call: ast.Call) -> Chain | None:
    """Return the name, and the attributes of it, that lead to what a call changes, as far as its own name says so.

    Other methods may change their objects too. Of the user's own that is looked up; of others it is not believed, since
    a value that does not count although it is read gives wrong results.
    """
    if isinstance(call.func, ast.Attribute):
        return container_of(call.func.value) if call.func.attr in _METHODS else None
    if last_name(call.func) in _FUNCTIONS and call.args:
        return container_of(call.args[0])
    return None
