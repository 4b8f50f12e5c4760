"""Makes one `Settings` of all sources: the first layer that has a setting decides it."""

from __future__ import annotations

import os

from flowstone.exceptions import ConfigurationError
from flowstone.settings.kinds import TYPE_CHECKING
from flowstone.settings.profiles import Profiles, parse_profiles
from flowstone.settings.schema import DEFAULT, SETTINGS, Origin, Settings
from flowstone.settings.setting import MASK, Setting
from flowstone.settings.sources import (
    Files,
    Layer,
    dotenv_layer,
    environment_layer,
    flowstone_layer,
    pyproject_layer,
    table_layer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TEMPORARY = Origin("temporary_settings", "temporary_settings")
_HOME, _PROFILE, _PROFILES_PATH = (
    SETTINGS[name] for name in ("FLOWSTONE_HOME", "FLOWSTONE_PROFILE", "FLOWSTONE_PROFILES_PATH")
)


RESTORE = object()
"""As an override it means the setting's default, whatever any source says."""


class Sources:
    """The layers in force, strongest first, and the profiles of the home that they name.

    The layer of the profile in force is not among them, so that a profile can be mended whatever state it is in.
    """

    __slots__ = ("layers", "profiles")

    def __init__(self, layers: list[Layer], profiles: Profiles) -> None:
        self.layers = layers
        self.profiles = profiles

    def profile(self) -> tuple[str, Origin]:
        """Return the name of the profile in force, and who says so."""
        value, origin = _decide(_PROFILE, self.layers, "")
        if origin is not DEFAULT or self.profiles.active is None:
            return str(value), origin
        return self.profiles.active, Origin("profiles file", f"active in {self.profiles.path}")

    def profile_layer(self, name: str) -> Layer:
        """Return what the profile `name` sets; raises ConfigurationError if there is no such profile."""
        layer = table_layer(self.profiles.table(name), "profile", self.profiles.path, f"profiles.{name}.")
        for declared in SETTINGS.values():
            if not declared.in_profiles and (entry := layer.entries.pop(declared.name, None)):
                place = entry[1].place
                layer.complaints[declared.name] = f"{place} has no effect: a profile cannot say where profiles are."
        return layer


def gather(overrides: Mapping[str, object], environ: Mapping[str, str], folder: str | None, files: Files) -> Sources:
    """Read every source; `overrides` are stronger than all of them, `folder` is None if there is no current folder."""
    layers = [
        Layer((name, raw, _TEMPORARY) for name, raw in overrides.items()),
        environment_layer(environ),
        *([] if folder is None else _folder_layers(folder, files)),
    ]
    home, _ = _decide(_HOME, layers, "")
    path, _ = _decide(_PROFILES_PATH, layers, str(home))
    return Sources(layers, parse_profiles(files.read(str(path)), str(path)))


def settle(sources: Sources) -> tuple[Settings, dict[str, str]]:
    """Return the settings that `sources` add up to, and what is wrong with the names in them.

    Raises ConfigurationError that names every bad value.
    """
    layers = [*sources.layers, sources.profile_layer(sources.profile()[0])]
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    wrong: list[str] = []
    for name, declared in SETTINGS.items():
        try:
            home = str(values.get(_HOME.name, ""))
            values[name], origin = sources.profile() if declared is _PROFILE else _decide(declared, layers, home)
        except ConfigurationError as error:
            wrong.append(str(error))
            continue
        if origin is not DEFAULT:
            origins[name] = origin
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return Settings(values, origins), {cause: said for layer in layers for cause, said in layer.complaints.items()}


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
            return (default_value(declared, home) if raw is RESTORE else read_value(declared, *entry)), origin
    return default_value(declared, home), DEFAULT


def _default_home() -> str:
    try:
        return str(_HOME.kind.parse(_HOME.default))
    except ValueError:
        raise ConfigurationError("Your home folder cannot be found; set FLOWSTONE_HOME to a folder.") from None


def _folder_layers(folder: str, files: Files) -> list[Layer]:
    layers = []
    for name, read in (
        (".env", dotenv_layer),
        ("flowstone.toml", flowstone_layer),
        ("pyproject.toml", pyproject_layer),
    ):
        path = os.path.join(folder, name)
        try:
            content = files.read(path)
        except ConfigurationError as error:
            if name == "flowstone.toml":
                raise
            layers.append(Layer((), {path: f"{error}"}))  # likely somebody else's file, about something else
            continue
        if content is not None:
            layers.append(read(path, content))
    return layers
