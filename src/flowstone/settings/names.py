"""The names a setting goes by, and what was meant by one that nothing goes by."""

from __future__ import annotations

from flowstone.exceptions import ConfigurationError
from flowstone.settings.kinds import TYPE_CHECKING
from flowstone.settings.schema import SETTINGS
from flowstone.settings.setting import PREFIX, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable

ALIASES = {alias: declared for declared in SETTINGS.values() for alias in declared.aliases}
_BY_PATH = {declared.path: declared for declared in SETTINGS.values()}

# Not settings: knobs of the test suite, and what stands in for `flowstone.runtime` values.
_FOREIGN_PREFIXES = ("FLOWSTONE_TEST_", "FLOWSTONE__")
# A Kubernetes service called flowstone puts these into every container of its namespace.
_FOREIGN_MARKS = ("_SERVICE_HOST", "_SERVICE_PORT", "_PORT_")


def find_setting(name: str) -> Setting | None:
    """Return the setting called `name`: its environment variable, an old name of it, or its dotted path."""
    shouted = name.strip().upper()
    if shouted.startswith(PREFIX):
        return SETTINGS.get(shouted) or ALIASES.get(shouted)
    return _BY_PATH.get(name.strip().lower().replace("-", "_"))


def require_setting(name: str | Setting) -> Setting:
    """Return the setting called `name`; raises ConfigurationError with a suggestion if there is none."""
    found = find_setting(name.name if isinstance(name, Setting) else str(name))
    if found is None:
        raise ConfigurationError(f"There is no setting {str(name)!r}.{suggestion(str(name))}")
    return found


def suggestion(name: str) -> str:
    """Return a sentence that says which setting was meant by `name`, or where to look."""
    known: Iterable[str] = SETTINGS
    wanted = name.strip().upper().replace("-", "_")
    if not wanted.startswith(PREFIX):
        known = _BY_PATH
        wanted = wanted.lower()
    close = closest(wanted, known)
    return f" Did you mean {close!r}?" if close else " `flowstone config view --show-defaults` lists them all."


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `name` most looks like, if any does."""
    import difflib  # only ever needed when something is wrong

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)), None)


def is_foreign(variable: str) -> bool:
    """Tell if an environment variable that starts like ours is known to be something else."""
    tail = variable[len(PREFIX) - 1 :]
    return variable.startswith(_FOREIGN_PREFIXES) or tail == "_PORT" or any(mark in tail for mark in _FOREIGN_MARKS)
