"""Which storage the settings, or a path or URL, speak of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flowstone.filesystems import LocalFileSystem, resolve_storage
from flowstone.filesystems.base import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from flowstone.settings import Settings


def place_for(given: Storage | Path | str | None, settings: Settings) -> Storage:
    """Return the storage that was given, or the one of the settings; folders are as durable as the settings say."""
    results = settings.results
    if given is None:
        given = results.default_storage or results.local_storage_path
    if isinstance(given, Storage):
        return given
    text = os.fspath(given)
    if "://" in text:
        return resolve_storage(given)
    return LocalFileSystem(text, durability=results.durability)
