"""TASK_SOURCE: a function's own code."""

from __future__ import annotations

import hashlib

from flowstone.fingerprints.base import CodePart, Fingerprint


def source_fingerprint(fn: object) -> Fingerprint:
    """Return the fingerprint of `fn`'s own code, normalised."""
    import ast
    import inspect
    import textwrap

    code = fn.__code__  # type: ignore[attr-defined]
    try:
        text = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(code))))
    except (OSError, TypeError, SyntaxError):
        text = repr((code.co_code, code.co_consts, code.co_names))
    digest = hashlib.sha256(text.encode()).digest()
    name = getattr(fn, "__qualname__", repr(fn))
    return Fingerprint(digest, [CodePart(name, "function", digest.hex(), file=code.co_filename, line=code.co_firstlineno, text=text)])
