"""Where values come from: the environment and the files of the current folder, each read into a layer."""

from __future__ import annotations

import os
import stat

from flowstone.exceptions import ConfigurationError
from flowstone.settings.dotenv import parse_dotenv
from flowstone.settings.kinds import TYPE_CHECKING
from flowstone.settings.names import find_setting, is_foreign, suggestion
from flowstone.settings.schema import Origin
from flowstone.settings.setting import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Stamp = tuple[int, ...] | None
Entry = tuple[object, Origin]


class Layer:
    """What one source says: `entries` by the setting's name; `complaints` by the name or file that is wrong."""

    __slots__ = ("complaints", "entries")

    def __init__(self, said: Iterable[tuple[str, object, Origin]], complaints: Mapping[str, str] | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.complaints = dict(complaints or {})
        for written, raw, origin in said:
            found = find_setting(written)
            if found is None:
                self.complaints[written] = f"No such setting: {origin.place}.{suggestion(written)}"
            elif found.name not in self.entries or written in (found.name, found.path):  # a name beats its old names
                self.entries[found.name] = (raw, origin)


class Files:
    """Reads files and remembers what it saw, so that a change can be noticed without reading again."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: dict[str, Stamp] = {}

    def read(self, path: str) -> bytes | None:
        """Return the content of a regular file, None if there is none; raises ConfigurationError if it is barred."""
        self.seen[path] = look(path)  # before reading: a write in between then shows as a change
        if self.seen[path] is None:
            return None
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"The settings in {path} cannot be read: {error.strerror}.") from error

    def changed(self) -> bool:
        """Tell if any file looks different from when it was read."""
        return any(look(path) != stamp for path, stamp in self.seen.items())


def look(path: str) -> Stamp:
    """Return what tells one version of a regular file from the next, None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):  # `.env` is often a virtual environment's folder
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Read environment variables; an empty one counts as not set."""
    return Layer(
        (name, text, Origin("env", f"the environment variable {name}"))
        for name in environ
        if name.startswith(PREFIX) and not is_foreign(name) and (text := environ.get(name))
    )


def dotenv_layer(path: str, content: bytes) -> Layer:
    """Read the lines of a `.env` file that are ours; an empty value counts as not set."""
    return Layer(
        (name, text, Origin(".env file", f"{name} in {path}"))
        for name, text in parse_dotenv(content.decode("utf-8-sig", "replace"))
        if text and name.startswith(PREFIX) and not is_foreign(name)
    )


def table_layer(table: Mapping[str, object], label: str, path: str, prefix: str = "") -> Layer:
    """Read a table of a TOML file, whose keys are nested (`[results]`), dotted, or environment variables' names."""
    return Layer((name, raw, Origin(label, f"{prefix}{name} in {path}")) for name, raw in _flatten(table))


def flowstone_layer(path: str, content: bytes) -> Layer:
    """Read a flowstone.toml, all of which is ours."""
    return table_layer(parse_toml(content, path), "flowstone.toml", path)


def pyproject_layer(path: str, content: bytes) -> Layer:
    """Read the table `[tool.flowstone]` of a pyproject.toml."""
    # Most projects have none, and parsing takes as long as starting Python: look before parsing.
    bare = content.translate(None, b" \t\"'")
    if b"tool.flowstone" not in bare and not (b"flowstone" in bare and (b"[tool]" in bare or b"tool=" in bare)):
        return Layer(())
    tool = parse_toml(content, path).get("tool")
    table = tool.get("flowstone", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"In {path} tool.flowstone is a table, not {table!r}.")
    return table_layer(table, "pyproject.toml", path, "tool.flowstone.")


def parse_toml(content: bytes, path: str) -> dict[str, object]:
    """Return the tables of a TOML file; raises ConfigurationError that names the file and the line."""
    import tomllib  # as slow to load as the rest of Python; most processes need none of it

    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error


def _flatten(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        name = f"{above}.{key}" if above else key
        if isinstance(value, dict) and find_setting(name) is None:
            yield from _flatten(value, name)
        else:
            yield name, value
