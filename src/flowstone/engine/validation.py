"""Flow parameters against their annotations.

An argument that is plainly of its annotated type passes at no cost. For the rest pydantic coerces and checks, where it
is installed; without it arguments are bound and nothing more (see docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Any, Final, get_type_hints

from flowstone.exceptions import ParameterTypeError

_PLAIN: Final = frozenset({bool, int, float, complex, str, bytes, NoneType})
_ANYTHING: Final = (Any, object)


def validated(fn: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as their annotations want them; the same dict where nothing changed.

    Raises ParameterTypeError naming each parameter that cannot be made to fit.
    """
    doubtful = {
        name: hint for name, hint in _hints(fn).items() if name in parameters and not _fits(parameters[name], hint)
    }
    if not doubtful or not _has_pydantic():
        return parameters
    return {**parameters, **_coerced(fn, parameters, doubtful)}


@cache
def _has_pydantic() -> bool:
    from importlib.util import find_spec  # only where an argument is not plainly of its type

    return find_spec("pydantic") is not None


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    if not getattr(fn, "__annotations__", None):
        return {}
    try:
        hints = get_type_hints(fn, include_extras=True)
    except Exception:  # an annotation that cannot be evaluated says nothing about the argument
        return {}
    hints.pop("return", None)
    variable = _variable_names(fn)
    return {name: hint for name, hint in hints.items() if name not in variable}


def _variable_names(fn: Callable[..., Any]) -> frozenset[str]:
    code = getattr(fn, "__code__", None)
    if code is None:
        return frozenset()
    first = code.co_argcount + code.co_kwonlyargcount
    count = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return frozenset(code.co_varnames[first : first + count])


def _fits(value: Any, hint: Any) -> bool:
    if any(hint is anything for anything in _ANYTHING):
        return True
    kind = NoneType if hint is None else hint
    if kind in _PLAIN or kind in (list, dict, tuple, set, frozenset):
        return type(value) is kind
    return isinstance(kind, type) and not hasattr(kind, "__get_validators__") and type(value) is kind


def _coerced(fn: Callable[..., Any], parameters: dict[str, Any], doubtful: dict[str, Any]) -> dict[str, Any]:
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    fitted, problems = {}, []
    for name, hint in doubtful.items():
        try:
            try:
                adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
            except PydanticUserError:  # the type has a configuration of its own
                adapter = TypeAdapter(hint)
            fitted[name] = adapter.validate_python(parameters[name])
        except PydanticSchemaGenerationError:
            continue
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors())
            problems.append(f"- {name}: {told} (got {type(parameters[name]).__name__})")
    if problems:
        called = getattr(fn, "__name__", "the flow")
        raise ParameterTypeError(f"Flow {called!r} received invalid parameters:\n" + "\n".join(problems))
    return fitted
