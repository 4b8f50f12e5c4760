"""Changes the file of profiles: comments and order stay, readers see the old or the new, and writers take turns."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import tomlkit

from flowstone.exceptions import ConfigurationError
from flowstone.settings.current import forget_settings
from flowstone.settings.names import find_setting
from flowstone.settings.profiles import DEFAULT_PROFILE, no_such_profile, parse_profiles
from flowstone.settings.setting import Setting

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


Table = MutableMapping[str, Any]


class ProfileFile:
    """The file of profiles, open for changes; nothing is written before the block around it ends well."""

    def __init__(self, document: tomlkit.TOMLDocument, path: str) -> None:
        self._document = document
        self.path = path

    @property
    def names(self) -> list[str]:
        """The names of all profiles."""
        return list(self._profiles)

    @property
    def active(self) -> str:
        """The name of the profile in use where nothing else is said."""
        return str(self._document.get("active", DEFAULT_PROFILE))

    def use(self, name: str) -> None:
        """Make `name` the profile in use; raises ConfigurationError if there is no such profile."""
        self._require(name)
        self._document["active"] = name

    def create(self, name: str, *, like: str | None = None) -> None:
        """Add a profile, empty or with what the profile `like` sets."""
        self._refuse_taken(name)
        table = tomlkit.table()
        if like is not None:
            self._require(like)
            table.update(parse_profiles(self.content(), self.path).table(like))
        self._profiles[name] = table

    def rename(self, old: str, new: str) -> None:
        """Give a profile another name; if it is in use it stays so."""
        table = self._require(old)
        self._refuse_taken(new)
        in_use = self.active == old
        del self._profiles[old]
        self._profiles[new] = table
        if in_use:
            self._document["active"] = new

    def delete(self, name: str) -> None:
        """Remove a profile; raises ConfigurationError if it is the one in use."""
        self._require(name)
        if name == self.active:
            raise ConfigurationError(f"Profile {name!r} is in use; `flowstone profile use` another one first.")
        del self._profiles[name]

    def set(self, profile: str, declared: Setting, text: str) -> None:
        """Have a profile set `declared` to `text`, in place of whatever spelling of it is there."""
        table = self._require(profile)
        if declared.name in table:
            table[declared.name] = text
            _drop(table, declared, keep=declared.name)
        else:
            _drop(table, declared)
            table[declared.name] = text

    def unset(self, profile: str, declared: Setting) -> bool:
        """Have a profile no longer set `declared`; returns whether it did."""
        return _drop(self._require(profile), declared)

    @property
    def _profiles(self) -> Table:
        if "profiles" not in self._document:
            self._document["profiles"] = tomlkit.table(is_super_table=True)
        profiles: Table = self._document["profiles"]
        return profiles

    def _require(self, name: str) -> Table:
        if name not in self._profiles and name == DEFAULT_PROFILE:  # there is always this one
            self._profiles[name] = tomlkit.table()
        if name not in self._profiles:
            raise no_such_profile(name, self.names, self.path)
        table: Table = self._profiles[name]
        return table

    def _refuse_taken(self, name: str) -> None:
        if name in self._profiles:
            raise ConfigurationError(f"There is a profile {name!r} already.")
        if not name or not all(character.isalnum() or character in "-_." for character in name):
            raise ConfigurationError(f"{name!r} cannot be a profile's name; use letters, digits, and any of - _ .")

    def content(self) -> bytes:
        """Return the file as it would be written."""
        return tomlkit.dumps(self._document).encode()


@contextmanager
def changing_profiles(path: str) -> Iterator[ProfileFile]:
    """Give the file of profiles for changes, and write it when the block ends well.

    The file is made when it is missing; only its owner may read it. Another process waits for its turn.
    """
    path = os.path.realpath(path)  # a link to it stays a link
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
        file = ProfileFile(_load(path), path)
        yield file
        _publish(path, file.content())
        forget_settings()
    finally:
        os.close(descriptor)


def _load(path: str) -> tomlkit.TOMLDocument:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        document = tomlkit.document()
        document["active"] = DEFAULT_PROFILE
        document["profiles"] = {DEFAULT_PROFILE: {}}
        return document
    parse_profiles(content, path)  # the same words for the same faults as when it is read
    return tomlkit.parse(content)


def _publish(path: str, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".profiles-", dir=os.path.dirname(path))  # with mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _drop(table: Table, declared: Setting, above: str = "", keep: str = "") -> bool:
    """Remove every spelling of a setting from a table but `keep`; returns whether there was one."""
    dropped = False
    for key in list(table):
        name = f"{above}.{key}" if above else key
        if find_setting(name) is declared:
            if name != keep:
                del table[key]
                dropped = True
        elif isinstance(table[key], MutableMapping):
            dropped = _drop(table[key], declared, name, keep) or dropped
    return dropped
