"""What things are called: for people, and in digests."""

from __future__ import annotations

import re
import sys
from types import ModuleType

_RENAMED = {"posix": "os", "nt": "os", "posixpath": "os.path", "ntpath": "os.path", "genericpath": "os.path"}
_SECRET = re.compile(r"secret|passw|token|api_?key|credential", re.IGNORECASE)
_LONGEST = 200


def code_name(value: object) -> str:
    """Return the qualified name that people know a function, class or module by."""
    if isinstance(value, ModuleType):
        return value.__name__
    fn = getattr(value, "fn", value) if getattr(type(value), "__flowstone_runnable__", False) else value
    code = getattr(fn, "__code__", None)
    name = code.co_qualname if code is not None else getattr(fn, "__qualname__", None) or type(fn).__qualname__
    module = (getattr(fn, "__globals__", None) or {}).get("__name__") or getattr(fn, "__module__", None)
    return f"{module}.{name}" if module else str(name)


def public_name(value: object) -> str:
    """Return a name that is the same on every Python version and platform, for what is not the user's own.

    Versions move the standard library's insides about (`pathlib` to `pathlib._local`, `_io` to `io`), so of a module of
    the standard library only its top counts, without underscores.
    """
    if isinstance(value, ModuleType):
        return public_module(value.__name__)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{public_module(getattr(value, '__module__', None) or 'builtins')}.{name}"


def public_module(module: str) -> str:
    """Return the name of a module without what versions and platforms change in it."""
    top = module.partition(".")[0]
    if top in _RENAMED:
        return _RENAMED[top]
    if top not in sys.stdlib_module_names:
        return module
    bare = top.lstrip("_")
    if top.startswith("_py") and bare[2:] in sys.stdlib_module_names:
        return bare[2:]
    if top.startswith("_") and bare in sys.stdlib_module_names:
        return bare
    return module if not re.search(r"\._", module) else module[: module.index("._")]


def shown_value(name: str, value: object) -> str:
    """Return a short text of a value for people to compare; what is called a secret is not shown."""
    if _SECRET.search(name):
        return f"<hidden {type(value).__qualname__}>"
    try:
        text = repr(value)
    except Exception as error:  # the user's own __repr__; the text is only shown
        return f"<{type(value).__qualname__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
