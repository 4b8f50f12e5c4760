"""Where the bytes of records live: folders, memory, object stores and layers of them."""

from __future__ import annotations

import os
from pathlib import Path

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems.base import Storage
from flowstone.filesystems.local import LocalFileSystem
from flowstone.filesystems.memory import MemoryFileSystem
from flowstone.filesystems.null import NullFileSystem

__all__ = ["LocalFileSystem", "MemoryFileSystem", "NullFileSystem", "resolve_storage"]


def resolve_storage(spec: Path | str | os.PathLike[str] | Storage) -> Storage:
    """Return the storage that `spec` names: a storage itself, a path, or a URL."""
    if isinstance(spec, Storage):
        return spec
    text = os.fspath(spec)
    if text.startswith("memory://"):
        return MemoryFileSystem(text[len("memory://") :])
    if text.startswith("file://"):
        return LocalFileSystem(text[len("file://") :])
    if "://" in text:
        raise ConfigurationError(f"No storage is known for {text!r}.")
    return LocalFileSystem(text)
