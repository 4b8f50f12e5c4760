"""Whose code a module is: the user's own, the standard library's, or an installed distribution's."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from flowstone._version import VERSION
from flowstone.fingerprints.boundary import Boundary

OWN = "own"
STDLIB = "stdlib"
DISTRIBUTION = "distribution"
EXCLUDED = "excluded"

_STDLIB_FOLDER = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_SITE_FOLDERS = ("site-packages", "dist-packages")


class Territory(NamedTuple):
    """What a module belongs to; `name` and `version` are the distribution's."""

    kind: str
    name: str = ""
    version: str = ""


_SCRIPTS = ("__main__", "__mp_main__")  # whoever started the process: what is defined there is the user's
_OWN = Territory(OWN)
_STDLIB = Territory(STDLIB)


# What was found out so far: of modules, told by name and file, and of the distributions in folders, each with its
# normalised name, its version and the place of its metadata.
_modules: dict[tuple[str, str], Territory] = {}
_folders: dict[str, list[tuple[str, str, str]]] = {}


def territory_of(module_name: str, boundary: Boundary, name: str = "") -> Territory:
    """Return whose code the module is, or the name in it if the boundary has a word for that alone."""
    verdict = _verdict(f"{module_name}.{name}" if name else module_name, boundary)
    if verdict is not None:
        return _OWN if verdict else Territory(EXCLUDED)
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None) or ""
    known = _modules.get((module_name, file))
    if known is None:
        known = _modules[module_name, file] = _classify(module_name, file)
    return known


def territory_of_unloaded(module_name: str, boundary: Boundary) -> Territory | None:
    """Return whose code a module is that nobody has imported yet, without importing it; None if there is none."""
    from importlib.util import find_spec

    top = module_name.partition(".")[0]
    verdict = _verdict(module_name, boundary)
    if verdict is not None:
        return _OWN if verdict else Territory(EXCLUDED)
    if top in sys.modules:
        return territory_of(top, boundary)
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return _classify(top, spec.origin if spec.has_location and spec.origin else "")


def _verdict(name: str, boundary: Boundary) -> bool | None:
    """Return what the user said of the longest fitting name: own or not, or None."""
    if not boundary.include and not boundary.exclude:
        return None
    while name:
        if name in boundary.exclude:
            return False
        if name in boundary.include:
            return True
        name = name.rpartition(".")[0]
    return None


def _classify(module_name: str, file: str) -> Territory:
    top = module_name.partition(".")[0]
    if top in _SCRIPTS:
        return _OWN
    if top == "flowstone":
        return Territory(DISTRIBUTION, "flowstone", VERSION)
    if not file:
        if top in sys.builtin_module_names or top in sys.stdlib_module_names:
            return _STDLIB
        return _OWN  # made up at run time, or a folder of packages, which has no code itself
    real = os.path.realpath(file)
    if real.startswith(_STDLIB_FOLDER) and not _in_site_folder(real):
        return _STDLIB
    return _installed(file, top) or _OWN


def _installed(file: str, top: str) -> Territory | None:
    """Return the distribution that installed a file; None for an editable one, whose files lie elsewhere."""
    folder = _folder_of_top(file, top)
    distributions = _distributions(folder)
    if not distributions:
        return None
    if os.path.isfile(os.path.join(folder, top, "__init__.py")) or not os.path.isdir(os.path.join(folder, top)):
        for name, version, _ in distributions:
            if name == _normalised(top):
                return Territory(DISTRIBUTION, name, version)
    relative = os.path.relpath(file, folder).replace(os.sep, "/")
    for name, version, metadata in distributions:
        if _lists(metadata, relative, top):
            return Territory(DISTRIBUTION, name, version)
    return None


def _folder_of_top(file: str, top: str) -> str:
    """Return the folder on `sys.path` that the top-level package or module lies in."""
    parts = os.path.abspath(file).split(os.sep)
    stems = [part.partition(".")[0] for part in parts]
    place = len(stems) - 1 - stems[::-1].index(top) if top in stems else len(parts) - 1
    site = [at + 1 for at, part in enumerate(parts) if part in _SITE_FOLDERS]
    return os.sep.join(parts[: site[-1] if site else place]) or os.sep


def _in_site_folder(path: str) -> bool:
    return not set(_SITE_FOLDERS).isdisjoint(path.split(os.sep))


def _normalised(name: str) -> str:
    words = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(word for word in words if word)


def _distributions(folder: str) -> list[tuple[str, str, str]]:
    known = _folders.get(folder)
    if known is None:
        known = _folders[folder] = _list_distributions(folder)
    return known


def _list_distributions(folder: str) -> list[tuple[str, str, str]]:
    """Read names and versions off the names of the metadata's folders, which costs a listing and not an import."""
    found = []
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return []
    for entry in entries:
        stem, extension = os.path.splitext(entry)
        if extension == ".dist-info" or (extension == ".egg-info" and _in_site_folder(folder)):
            name, _, rest = stem.partition("-")
            found.append((_normalised(name), rest.partition("-")[0], os.path.join(folder, entry)))
    return found


def _lists(metadata: str, relative: str, top: str) -> bool:
    for listing in ("RECORD", "installed-files.txt"):
        try:
            with open(os.path.join(metadata, listing), encoding="utf-8") as file:
                text = "\n" + file.read()
        except (OSError, ValueError):
            continue
        return f"\n{relative}," in text or f"\n{relative}\n" in text
    try:
        with open(os.path.join(metadata, "top_level.txt"), encoding="utf-8") as file:
            return top in file.read().split()
    except (OSError, ValueError):
        return False
