"""The options of `@task` and `@flow`: checked when decorating, with an error that says what each takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import FunctionType
from typing import Any, Final

from flowstone._types import NotSet
from flowstone.cache_policies import CachePolicy
from flowstone.exceptions import ConfigurationError, ReservedArgumentError

RESERVED: Final = ("return_state", "wait_for")
MAX_DELAYS: Final = 50


class Checks:
    """Checks the options of one decorated function; `what` and `name` say whose they are in the errors."""

    __slots__ = ("what",)

    def __init__(self, kind: str, name: str) -> None:
        self.what = f"{kind} {name!r}"

    def wrong(self, option: str, value: object, accepted: str) -> ConfigurationError:
        return ConfigurationError(f"{self.what}: {option}={value!r} will not do; give {accepted}.")

    def unknown(self, given: Iterable[str], known: Iterable[str]) -> None:
        for option in given:
            from difflib import get_close_matches  # only on the way to an error

            near = get_close_matches(option, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known))}."
            raise ConfigurationError(f"{self.what} has no option {option!r}; {hint}")

    def reserved(self, names: Iterable[str]) -> None:
        for name in names:
            if name in RESERVED:
                raise ReservedArgumentError(
                    f"{self.what}: the parameter name {name!r} is reserved; rename the parameter."
                )

    def policy(self, value: Any) -> None:
        if value is None or value is NotSet or isinstance(value, CachePolicy):
            return
        accepted = "a policy from flowstone.cache_policies, such as INPUTS or INPUTS + TASK_SOURCE, or None"
        if isinstance(value, type) and issubclass(value, CachePolicy):
            accepted = f"an instance, {value.__name__}(), and not the class"
        raise self.wrong("cache_policy", value, accepted)

    def key_function(self, fn: Any) -> None:
        if fn is None:
            return
        accepted = "a function of two positional arguments, (context, parameters)"
        if not callable(fn) or not accepts_two(fn):
            raise self.wrong("cache_key_fn", fn, accepted)

    def expiration(self, value: Any) -> float | None:
        """Return the lifetime in seconds."""
        if value is None:
            return None
        if not isinstance(value, timedelta) or value <= timedelta(0):
            raise self.wrong("cache_expiration", value, "a positive datetime.timedelta")
        return value.total_seconds()

    def flag(self, option: str, value: Any) -> bool | None:
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(option, value, "True, False or None")

    def retries(self, value: Any) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise self.wrong("retries", value, "a whole number, 0 or more")

    def delay(self, value: Any) -> Any:
        if value is None or callable(value):
            return value
        values = [value] if _is_number(value) else value
        if not isinstance(values, list | tuple) or not all(_is_number(one) and one >= 0 for one in values):
            raise self.wrong("retry_delay_seconds", value, "a number, a list of numbers, or a function of the retries")
        if len(values) > MAX_DELAYS:
            raise self.wrong("retry_delay_seconds", f"<{len(values)} delays>", f"a list of at most {MAX_DELAYS} delays")
        return value if _is_number(value) else list(values)

    def jitter(self, value: Any) -> float | None:
        if value is None or (_is_number(value) and value >= 0):
            return None if value is None else float(value)
        raise self.wrong("retry_jitter_factor", value, "a number, 0 or more")

    def timeout(self, value: Any) -> float | None:
        if value is None or (_is_number(value) and value >= 0):
            return float(value) if value else None
        raise self.wrong("timeout_seconds", value, "a number of seconds, 0 or more")

    def function(self, option: str, value: Any) -> Any:
        if value is None or callable(value):
            return value
        raise self.wrong(option, value, "a function")

    def run_name(self, option: str, value: Any) -> Any:
        if value is None or isinstance(value, str) or callable(value):
            return value
        raise self.wrong(option, value, "a template string, or a function that returns the name")

    def hooks(self, option: str, value: Any) -> list[Callable[..., Any]]:
        if value is None:
            return []
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise self.wrong(option, value, "a list of functions")
        found = list(value)
        for hook in found:
            if not callable(hook):
                raise self.wrong(option, hook, "functions only")
        return found

    def tags(self, value: Iterable[str] | None) -> frozenset[str]:
        if isinstance(value, str) or not all(isinstance(tag, str) for tag in value or ()):
            raise self.wrong("tags", value, "a collection of strings")
        return frozenset(value or ())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def accepts_two(fn: Callable[..., Any]) -> bool:
    """Say whether `fn` can be called with two positional arguments."""
    if isinstance(fn, FunctionType) and not hasattr(fn, "__wrapped__"):
        code = fn.__code__
        needed = code.co_argcount - len(fn.__defaults__ or ())
        keyword_only = code.co_kwonlyargcount - len(fn.__kwdefaults__ or ())
        return needed <= 2 and not keyword_only and (code.co_argcount >= 2 or bool(code.co_flags & 0x04))
    from inspect import signature  # heavy, and needed only for what is not a plain function

    try:
        signature(fn).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not tell
        return True
    return True


def run_name_of(template: Any, parameters: Mapping[str, Any], what: str) -> str:
    """Return the name that a template or a function gives; raises ConfigurationError where it cannot."""
    try:
        if isinstance(template, str):
            return template.format(**parameters)
        names: Sequence[str] = (
            template.__code__.co_varnames[: template.__code__.co_argcount] if hasattr(template, "__code__") else ()
        )
        name = template(parameters=dict(parameters)) if "parameters" in names else template()
    except (KeyError, IndexError, AttributeError) as error:
        raise ConfigurationError(
            f"{what}: the run name {template!r} cannot be made: {type(error).__name__} {error}."
        ) from error
    if not isinstance(name, str):
        raise ConfigurationError(f"{what}: the run name function returned {name!r}; it must return a string.")
    return name
