"""The form of a function whose source cannot be had: its code object, with constants and names.

Bytecode differs between Python versions, so such a form carries the version: another Python computes again.
"""

from __future__ import annotations

import sys
from importlib._bootstrap_external import MAGIC_NUMBER
from types import CodeType

from flowstone.fingerprints.refs import CHANGED, DYNAMIC, IMPORT, NAME, Ref
from flowstone.hashing import combine, token

_BLIND = {"eval": "what it reads", "exec": "what it reads", "globals": "what it reads", "__import__": "the module"}


def bytecode_digest(code: CodeType) -> bytes:
    """Return the digest of a code object, without the places in files it remembers."""
    version = token((sys.implementation.name, MAGIC_NUMBER))
    return combine("bytecode", [("python", version), ("code", _written(code))])


def _written(code: CodeType) -> bytes:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    plain = token((code.co_code, counts, names, code.co_exceptiontable))
    constants = [
        ("code", _written(constant)) if isinstance(constant, CodeType) else ("constant", token(constant))
        for constant in code.co_consts
    ]
    return combine("code object", [("plain", plain), *constants])


def bytecode_refs(code: CodeType) -> tuple[Ref, ...]:
    """Return the names that a code object and those in it read from outside, as far as its instructions tell."""
    found: set[Ref] = set()
    _collect(code, frozenset(code.co_freevars), found)
    return tuple(sorted(found))


def _collect(code: CodeType, free: frozenset[str], found: set[Ref]) -> None:
    import dis

    root: str | None = None
    chain: tuple[str, ...] = ()
    literals: list[object] = []
    for instruction in dis.get_instructions(code):
        operation, argument = instruction.opname, instruction.argval
        if operation in ("LOAD_ATTR", "LOAD_METHOD") and root is not None:
            chain = (*chain, argument)
            continue
        if root is not None:
            found.add((NAME, root, chain))
            root = None
        if operation in ("LOAD_GLOBAL", "LOAD_NAME") or (operation.startswith("LOAD_") and argument in free):
            root, chain = str(argument), ()
            if root in _BLIND:
                found.add((DYNAMIC, f"{root}(...)", (root, f"{_BLIND[root]} is only known when it runs")))
        elif operation in ("STORE_GLOBAL", "DELETE_GLOBAL") or (
            operation in ("STORE_DEREF", "DELETE_DEREF") and argument in free
        ):
            found.add((CHANGED, str(argument), ()))
        elif operation == "IMPORT_NAME":
            level = next((value for value in reversed(literals) if type(value) is int), 0)
            found.add((IMPORT, "." * level + str(argument), ()))
        elif operation == "LOAD_CONST":
            literals.append(argument)
    if root is not None:
        found.add((NAME, root, chain))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect(constant, free & frozenset(constant.co_freevars), found)
