"""Settings: what can be set, where values come from, and the ones in force.

`from flowstone.settings import FLOWSTONE_RESULTS_PERSIST_BY_DEFAULT` gives the setting of that name.
"""

from __future__ import annotations

from flowstone.exceptions import ConfigurationError
from flowstone.settings.current import get_current_settings, reload_settings, temporary_settings
from flowstone.settings.names import require_setting
from flowstone.settings.schema import SETTINGS, Settings
from flowstone.settings.setting import PREFIX, Setting

__all__ = ["SETTINGS", "Setting", "Settings", "get_current_settings", "reload_settings", "temporary_settings"]


def __getattr__(name: str) -> Setting:
    if not name.startswith(PREFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return require_setting(name)
    except ConfigurationError as error:
        raise AttributeError(str(error)) from None


def __dir__() -> list[str]:
    return [*__all__, *SETTINGS]
