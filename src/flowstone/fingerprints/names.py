"""What things are called: for people, and in digests."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from flowstone.fingerprints.plainly import is_class, is_module, is_runnable

_RENAMED = {"posix": "os", "nt": "os", "posixpath": "os.path", "ntpath": "os.path", "genericpath": "os.path"}
_SECRETS = ("secret", "passw", "token", "apikey", "api_key", "credential")
_LONGEST = 200


def code_name(value: Any) -> str:
    """Return the qualified name that people know a function, class or module by; of anything else its type's."""
    while is_runnable(value) or type(value) is MethodType:
        value = value.__func__ if type(value) is MethodType else value.fn
    if is_module(value):
        return str(value.__name__)
    if type(value) is FunctionType:
        module, name = value.__globals__.get("__name__"), value.__code__.co_qualname
    elif is_class(value) or type(value) is BuiltinFunctionType:
        module, name = value.__module__, value.__qualname__
    else:
        module, name = type(value).__module__, type(value).__qualname__
    return f"{module}.{name}" if module else name


def public_name(value: Any) -> str:
    """Return a name that is the same on every Python version and platform, for what is not the user's own.

    Versions move the standard library's insides about (`pathlib` to `pathlib._local`, `_io` to `io`), so of a module of
    the standard library only its top counts, without underscores.
    """
    if is_module(value):
        return public_module(value.__name__)
    named = value if type(value) in (FunctionType, BuiltinFunctionType) or is_class(value) else type(value)
    return f"{public_module(named.__module__ or 'builtins')}.{named.__qualname__}"


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
    return module.partition("._")[0]


def shown_value(name: str, value: object) -> str:
    """Return a short text of a value for people to compare; what is called a secret is not shown."""
    if any(word in name.lower() for word in _SECRETS):
        return f"<hidden {type(value).__qualname__}>"
    try:
        text = repr(value)
    except Exception as error:  # the user's own __repr__; the text is only shown
        return f"<{type(value).__qualname__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
