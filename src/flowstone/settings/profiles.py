"""Named sets of settings in one file, of which one is in use: `active = "..."` and a table `[profiles.NAME]` each."""

from __future__ import annotations

from flowstone.exceptions import ConfigurationError
from flowstone.settings.kinds import TYPE_CHECKING
from flowstone.settings.names import closest
from flowstone.settings.plain_toml import parse_plain
from flowstone.settings.sources import parse_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_PROFILE = "default"


class Profiles:
    """What the file of profiles says, as far as reading settings goes; `active` is None if it does not say."""

    __slots__ = ("active", "path", "tables")

    def __init__(self, path: str, active: str | None, tables: Mapping[str, Mapping[str, object]]) -> None:
        self.path = path
        self.active = active
        self.tables = tables

    def names(self) -> list[str]:
        """Return the names of all profiles, of which the one in use may have no table if it is the default one."""
        bare = self.active in (None, DEFAULT_PROFILE) and DEFAULT_PROFILE not in self.tables
        return [DEFAULT_PROFILE, *self.tables] if bare else list(self.tables)

    def table(self, name: str) -> Mapping[str, object]:
        """Return what the profile `name` sets; raises ConfigurationError if there is no such profile."""
        if name in self.tables:
            return self.tables[name]
        if name == DEFAULT_PROFILE:
            return {}
        raise no_such_profile(name, self.names(), self.path)


def no_such_profile(name: str, known: Iterable[str], path: str) -> ConfigurationError:
    """Return the error for a profile that is not in the file at `path`."""
    close = closest(name, known)
    hint = f"Did you mean {close!r}?" if close else f"`flowstone profile create {name}` makes it."
    return ConfigurationError(f"There is no profile {name!r} in {path}. {hint}")


def parse_profiles(content: bytes | None, path: str) -> Profiles:
    """Return the profiles in the content of their file; raises ConfigurationError if it has another shape."""
    if content is None:
        return Profiles(path, None, {})
    document = parse_plain(content) or parse_toml(content, path)
    active, tables = document.get("active"), document.get("profiles", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigurationError(f"In {path} every profile is a table: [profiles.NAME].")
    if active is not None and not isinstance(active, str):
        raise ConfigurationError(f"In {path} `active` is the name of a profile, not {active!r}.")
    return Profiles(path, active, tables)
