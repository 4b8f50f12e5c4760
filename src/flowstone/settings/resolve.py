"""Makes one `Settings` of all sources: the first layer that has a setting decides it."""

from __future__ import annotations

import os

from flowstone.exceptions import ConfigurationError
from flowstone.settings.kinds import TYPE_CHECKING
from flowstone.settings.names import suggestion
from flowstone.settings.profiles import DEFAULT_PROFILE, Profiles, parse_profiles
from flowstone.settings.schema import DEFAULT, SETTINGS, Origin, Settings
from flowstone.settings.setting import MASK, Setting
from flowstone.settings.sources import (
    Files,
    Layer,
    dotenv_layer,
    environment_layer,
    parse_toml,
    project_table,
    table_layer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TEMPORARY = Origin("temporary_settings", "temporary_settings")
_HOME, _PROFILE, _PROFILES_PATH = (
    SETTINGS[name] for name in ("FLOWSTONE_HOME", "FLOWSTONE_PROFILE", "FLOWSTONE_PROFILES_PATH")
)


class Use:
    """Marks what an override says of a setting: `DEFAULT_VALUE` means its default, whatever any source says."""

    DEFAULT_VALUE = object()


class Sources:
    """All layers that are in force, strongest first, with the profiles they were read from."""

    __slots__ = ("layers", "profiles")

    def __init__(self, layers: list[Layer], profiles: Profiles) -> None:
        self.layers = layers
        self.profiles = profiles


def gather(overrides: Mapping[str, object], environ: Mapping[str, str], folder: str | None, files: Files) -> Sources:
    """Read every source; `overrides` are stronger than all of them, `folder` is None if there is no current folder."""
    layers = [
        Layer((name, raw, _TEMPORARY) for name, raw in overrides.items()),
        environment_layer(environ),
        *([] if folder is None else _folder_layers(folder, files)),
    ]
    profiles = read_profiles(layers, files)
    name, _ = profile_in_use(layers, profiles)
    table = profiles.table(name)
    layers.append(table_layer(table, "profile", profiles.path, f"profiles.{name}."))
    return Sources(layers, profiles)


def read_profiles(layers: Sequence[Layer], files: Files) -> Profiles:
    """Return the profiles of the home that `layers` name."""
    home, _ = _decide(_HOME, layers, "")
    path, _ = _decide(_PROFILES_PATH, layers, str(home))
    return parse_profiles(files.read(str(path)), str(path))


def profile_in_use(layers: Sequence[Layer], profiles: Profiles) -> tuple[str, Origin]:
    """Return the name of the profile in force, and who says so."""
    value, origin = _decide(_PROFILE, layers, "")
    if origin is not DEFAULT:
        return str(value), origin
    if profiles.active is None:
        return DEFAULT_PROFILE, DEFAULT
    return profiles.active, Origin("profiles file", f"active in {profiles.path}")


def settle(sources: Sources) -> Settings:
    """Return the settings that `sources` add up to; raises ConfigurationError that names every bad value."""
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    wrong: list[str] = []
    for name, declared in SETTINGS.items():
        layers = sources.layers if declared.in_profiles else sources.layers[:-1]
        try:
            if declared is _PROFILE:
                values[name], origin = profile_in_use(layers, sources.profiles)
            else:
                values[name], origin = _decide(declared, layers, str(values.get(_HOME.name, "")))
        except ConfigurationError as error:
            wrong.append(str(error))
            continue
        if origin is not DEFAULT:
            origins[name] = origin
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return Settings(values, origins)


def complaints(sources: Sources) -> dict[str, str]:
    """Return what is wrong with the names in `sources`: the name as written, and what to say about it."""
    found = {}
    for layer in sources.layers:
        for written, place in layer.strangers:
            found[written] = f"No such setting: {place}.{suggestion(written)}"
    for name, (_, origin) in sources.layers[-1].entries.items():
        if not SETTINGS[name].in_profiles:
            found[name] = f"{origin.place} has no effect: a profile cannot say where profiles are."
    return found


def read_value(declared: Setting, raw: object, origin: Origin) -> object:
    """Return the value that `raw` means; raises ConfigurationError that says whose it is and what is accepted."""
    try:
        return declared.kind.parse(raw)
    except (ValueError, OverflowError):
        shown = MASK if declared.secret else repr(raw)
        raise ConfigurationError(
            f"{declared.name} cannot be {shown} (from {origin.place}). It accepts {declared.kind.accepts}."
        ) from None


def default_value(declared: Setting, home: str) -> object:
    """Return the default of a setting for somebody with this home."""
    if declared.under_home:
        return os.path.join(home, declared.under_home)
    if declared is _HOME:
        return _default_home()
    return declared.default


def _decide(declared: Setting, layers: Sequence[Layer], home: str) -> tuple[object, Origin]:
    for layer in layers:
        entry = layer.entries.get(declared.name)
        if entry is not None:
            raw, origin = entry
            return (default_value(declared, home) if raw is Use.DEFAULT_VALUE else read_value(declared, *entry)), origin
    return default_value(declared, home), DEFAULT


def _default_home() -> str:
    try:
        return str(_HOME.kind.parse(_HOME.default))
    except ValueError:
        raise ConfigurationError("Your home folder cannot be found; set FLOWSTONE_HOME to a folder.") from None


def _folder_layers(folder: str, files: Files) -> list[Layer]:
    layers = []
    path = os.path.join(folder, ".env")
    if (content := files.read(path)) is not None:
        layers.append(dotenv_layer(path, content))
    path = os.path.join(folder, "flowstone.toml")
    if (content := files.read(path)) is not None:
        layers.append(table_layer(parse_toml(content, path), "flowstone.toml", path))
    path = os.path.join(folder, "pyproject.toml")
    if (content := files.read(path)) is not None:
        layers.append(table_layer(project_table(content, path), "pyproject.toml", path, "tool.flowstone."))
    return layers
