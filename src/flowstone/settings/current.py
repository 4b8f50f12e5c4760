"""The settings in force here and now.

This is asked once per task call, so it must cost next to nothing while nothing changes, and yet see a variable that was
set a moment ago. The environment is compared on every call; files are looked at again after a tenth of a second.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from time import monotonic

from flowstone.exceptions import ConfigurationError
from flowstone.settings.kinds import TYPE_CHECKING
from flowstone.settings.names import ALIASES, require_setting
from flowstone.settings.resolve import RESTORE, Sources, gather, settle
from flowstone.settings.schema import SETTINGS, Settings
from flowstone.settings.setting import PREFIX, Setting
from flowstone.settings.sources import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import Token
    from typing import Any

_LOOK_AGAIN_SECONDS = 0.1
_LOOK_AGAIN_FACTOR = 100  # where looking is slow (a network share) it shall take no more than 1% of the time
_LOOK_AGAIN_AT_LAST = 2.0

_encode: Callable[[str], Any] = getattr(os.environ, "encodekey", str)
_WATCHED = frozenset(map(_encode, (*SETTINGS, *ALIASES, "HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH")))


class _Watch:
    """One snapshot and what it depends on; replaced as a whole, so that other threads see either the old or the new."""

    __slots__ = ("absent", "due", "files", "folder", "present", "settings", "strangers", "texts")

    settings: Settings

    def __init__(self, environ: Mapping[Any, Any], folder: str | None) -> None:
        self.present = tuple(name for name in _WATCHED if name in environ)
        self.absent = _WATCHED.difference(self.present)
        self.texts = tuple(map(environ.get, self.present))
        self.strangers = _strangers()
        self.folder = folder
        self.files = Files()
        self.due = 0.0

    def same_environment(self, environ: Mapping[Any, Any]) -> bool:
        return environ.keys().isdisjoint(self.absent) and tuple(map(environ.get, self.present)) == self.texts

    def same_surroundings(self, folder: str | None) -> bool:
        return self.folder == folder and not self.files.changed() and self.strangers == _strangers()

    def rest(self, cost: float = 0.0) -> None:
        """Trust the files for a while, the longer the more seconds looking at them took."""
        self.due = monotonic() + min(max(_LOOK_AGAIN_SECONDS, _LOOK_AGAIN_FACTOR * cost), _LOOK_AGAIN_AT_LAST)

    def forget(self) -> None:
        """Read everything again at the next call."""
        self.folder, self.due = "", 0.0


class _Reader:
    """Finds settings under a set of overrides, and keeps the last it found.

    There is no lock: two threads that look at once both find the truth, and the last to write it down wins.
    """

    __slots__ = ("overrides", "watch")

    def __init__(self, overrides: Mapping[str, object]) -> None:
        self.overrides = overrides
        self.watch: _Watch | None = None


_BASE = _Reader({})
_READER: ContextVar[_Reader] = ContextVar("flowstone_settings", default=_BASE)


def get_current_settings() -> Settings:
    """Return the settings in force here and now: the same object for as long as nothing changes.

    Takes about a microsecond then. Raises ConfigurationError for a bad value. A new thread does not inherit
    `temporary_settings` unless it is started in a copy of the context.
    """
    watch = _READER.get().watch
    try:
        environ = os.environ._data  # type: ignore[attr-defined]  # the mapping behind it is five times as fast
    except AttributeError:
        environ = _plain_environ()
    if (
        watch is not None
        and monotonic() < watch.due
        and environ.keys().isdisjoint(watch.absent)
        and tuple(map(environ.get, watch.present)) == watch.texts
    ):
        return watch.settings
    return _look_around(_READER.get(), environ)


def forget_settings() -> None:
    """Have all files read again when settings are next asked for, however short ago that was."""
    for reader in (_BASE, _READER.get()):
        if reader.watch is not None:
            reader.watch.forget()


def reload_settings() -> Settings:
    """Read all files again, however short ago that was, and return the settings."""
    forget_settings()
    return get_current_settings()


def current_sources() -> Sources:
    """Return where settings come from here and now, read afresh; bad values in a profile do no harm to it."""
    return gather(_READER.get().overrides, os.environ, _current_folder(), Files())


def temporary_settings(
    updates: Mapping[str | Setting, object] | None = None, restore_defaults: Iterable[str | Setting] | None = None
) -> Temporary:
    """Override settings in a `with` block, in this thread or task only.

    `restore_defaults` names settings that get their defaults, whatever the environment and files say. Blocks nest.
    Raises ConfigurationError for a name that is no setting's, and on entry for a bad value.
    """
    restored = {require_setting(name).name: RESTORE for name in restore_defaults or ()}
    return Temporary({**restored, **{require_setting(name).name: value for name, value in (updates or {}).items()}})


class Temporary:
    """Overrides that hold inside a `with` block, which gives the settings then in force."""

    __slots__ = ("_overrides", "_tokens")

    def __init__(self, overrides: Mapping[str, object]) -> None:
        self._overrides = overrides
        self._tokens: list[Token[_Reader]] = []

    def __enter__(self) -> Settings:
        token = _READER.set(_Reader({**_READER.get().overrides, **self._overrides}))
        try:
            settings = get_current_settings()
        except BaseException:
            _READER.reset(token)
            raise
        self._tokens.append(token)
        return settings

    def __exit__(self, *raised: object) -> None:
        _READER.reset(self._tokens.pop())


def _look_around(reader: _Reader, environ: Mapping[Any, Any]) -> Settings:
    started, folder, before = monotonic(), _current_folder(), reader.watch
    if before is not None and before.same_environment(environ) and before.same_surroundings(folder):
        before.rest(monotonic() - started)
        return before.settings
    after = _Watch(environ, folder)
    said = _fill(after, reader.overrides, before)
    if before is not None and before.settings.same_as(after.settings):
        after.settings = before.settings
    after.rest()
    reader.watch = after
    for cause, message in said.items():  # only now: a handler of the log may ask for settings itself
        _warn(cause, message)
    return after.settings


def _fill(watch: _Watch, overrides: Mapping[str, object], before: _Watch | None) -> dict[str, str]:
    """Give `watch` its settings, and return what there is to warn of."""
    try:
        watch.settings, said = settle(gather(overrides, os.environ, watch.folder, watch.files))
    except ConfigurationError as error:
        if before is None or before.folder != watch.folder or before.texts != watch.texts:
            raise
        # Somebody is editing a file under a running program, which must not fail for that.
        watch.settings = before.settings
        watch.files.seen = {**before.files.seen, **watch.files.seen}
        return {str(error): f"{error} The settings from before stay in force."}
    return said


def _warn(cause: str, message: str) -> None:
    from flowstone.warn import warn_once  # brings logging, which is not needed while all is well

    warn_once(("setting", cause), message)


def _strangers() -> frozenset[str]:
    return frozenset(name for name in os.environ if name.startswith(PREFIX) and _encode(name) not in _WATCHED)


def _plain_environ() -> dict[Any, str]:
    return {_encode(name): text for name, text in os.environ.items()}


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


Setting.read = lambda name: get_current_settings().value(name)
