"""Arguments to names: one binder is generated per function, so that a call pays for a plain function call.

A binder takes the arguments the function takes and returns them by name, defaults filled in. `*args` appears as one
tuple and `**kwargs` as one dict, as `inspect.Signature.bind` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from keyword import iskeyword
from types import FunctionType
from typing import Any, Final

from flowstone.exceptions import ParameterBindError

Parameters = dict[str, Any]

_VARARGS: Final = 0x04
_VARKEYWORDS: Final = 0x08


class Binder:
    """Binds the arguments of calls to one function."""

    __slots__ = ("_bind", "_name", "_shape", "names", "var_keyword", "var_positional")

    def __init__(self, fn: Callable[..., Any]) -> None:
        shape = self._shape = _Shape.of(fn)
        self.names = shape.names
        self.var_positional = shape.var_positional
        self.var_keyword = shape.var_keyword
        self._name = getattr(fn, "__name__", type(fn).__name__)
        self._bind = shape.binder(self._name)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Parameters:
        """Return the arguments by name; raises ParameterBindError where they do not fit."""
        try:
            return self._bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterBindError(f"Error binding parameters for {self._name!r}: {error}") from None

    def call_with(self, parameters: Parameters) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments that give the function these parameters."""
        shape = self._shape
        by_position = shape.positional if self.var_positional else shape.positional[: shape.positional_only]
        args = tuple(parameters[name] for name in by_position)
        kwargs = {
            name: parameters[name] for name in (*shape.positional, *shape.keyword_only) if name not in by_position
        }
        if self.var_positional:
            args += tuple(parameters[self.var_positional])
        if self.var_keyword:
            kwargs.update(parameters[self.var_keyword])
        return args, kwargs


class _Shape:
    """The parameters of a function, by kind."""

    __slots__ = ("defaults", "keyword_only", "positional", "positional_only", "var_keyword", "var_positional")

    def __init__(
        self,
        positional: tuple[str, ...],
        positional_only: int,
        keyword_only: tuple[str, ...],
        var_positional: str | None,
        var_keyword: str | None,
        defaults: dict[str, Any],
    ) -> None:
        self.positional = positional
        self.positional_only = positional_only
        self.keyword_only = keyword_only
        self.var_positional = var_positional
        self.var_keyword = var_keyword
        self.defaults = defaults

    @property
    def names(self) -> tuple[str, ...]:
        variable = (self.var_positional, self.var_keyword)
        return (*self.positional, *self.keyword_only, *(name for name in variable if name))

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> _Shape:
        plain = isinstance(fn, FunctionType) and not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__")
        return cls._of_function(fn) if plain and isinstance(fn, FunctionType) else cls._of_callable(fn)

    @classmethod
    def _of_function(cls, fn: FunctionType) -> _Shape:
        code = fn.__code__
        names = code.co_varnames
        positional = names[: code.co_argcount]
        rest = code.co_argcount + code.co_kwonlyargcount
        keyword_only = names[code.co_argcount : rest]
        var_positional = var_keyword = None
        if code.co_flags & _VARARGS:
            var_positional, rest = names[rest], rest + 1
        if code.co_flags & _VARKEYWORDS:
            var_keyword = names[rest]
        given = fn.__defaults__ or ()
        defaults = dict(zip(positional[len(positional) - len(given) :], given))
        defaults.update(fn.__kwdefaults__ or {})
        return cls(positional, code.co_posonlyargcount, keyword_only, var_positional, var_keyword, defaults)

    @classmethod
    def _of_callable(cls, fn: Callable[..., Any]) -> _Shape:
        from inspect import Parameter, signature  # heavy, and needed only for what is not a plain function

        try:
            found = signature(fn).parameters.values()
        except ValueError:  # a builtin that does not tell what it takes
            return cls((), 0, (), "args", "kwargs", {})
        positional = [p.name for p in found if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
        variable = {p.kind: p.name for p in found}
        return cls(
            tuple(positional),
            sum(p.kind is Parameter.POSITIONAL_ONLY for p in found),
            tuple(p.name for p in found if p.kind is Parameter.KEYWORD_ONLY),
            variable.get(Parameter.VAR_POSITIONAL),
            variable.get(Parameter.VAR_KEYWORD),
            {p.name: p.default for p in found if p.default is not Parameter.empty},
        )

    def binder(self, name: str) -> Callable[..., Parameters]:
        """Compile a function with this shape that returns its own arguments."""
        signature: list[str] = []
        for index, parameter in enumerate(self.positional):
            if index == self.positional_only and index:
                signature.append("/")
            signature.append(self._declared(parameter))
        if self.positional_only and self.positional_only == len(self.positional):
            signature.append("/")
        if self.var_positional:
            signature.append("*" + self.var_positional)
        elif self.keyword_only:
            signature.append("*")
        signature += map(self._declared, self.keyword_only)
        if self.var_keyword:
            signature.append("**" + self.var_keyword)
        called = name if name.isidentifier() and not iskeyword(name) else "task"
        returned = ", ".join(f"{parameter!r}: {parameter}" for parameter in self.names)
        namespace: dict[str, Any] = {"_defaults": self.defaults}
        exec(f"def {called}({', '.join(signature)}): return {{{returned}}}", namespace)
        bind: Callable[..., Parameters] = namespace[called]
        return bind

    def _declared(self, parameter: str) -> str:
        return f"{parameter}=_defaults[{parameter!r}]" if parameter in self.defaults else parameter
