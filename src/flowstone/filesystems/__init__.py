"""Where the bytes of records live: folders, memory, object stores and layers of them."""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems.base import Storage, SweepReport
from flowstone.filesystems.local import LocalFileSystem
from flowstone.filesystems.memory import MemoryFileSystem
from flowstone.filesystems.null import NullFileSystem

if TYPE_CHECKING:
    from flowstone.filesystems.objects import ObjectStorage
    from flowstone.filesystems.remote import RemoteFileSystem
    from flowstone.filesystems.tiered import TieredFileSystem

__all__ = [
    "LocalFileSystem",
    "MemoryFileSystem",
    "NullFileSystem",
    "ObjectStorage",
    "RemoteFileSystem",
    "Storage",
    "SweepReport",
    "TieredFileSystem",
    "resolve_storage",
    "sweep",
]

_LATER = {
    "ObjectStorage": "flowstone.filesystems.objects",
    "RemoteFileSystem": "flowstone.filesystems.remote",
    "TieredFileSystem": "flowstone.filesystems.tiered",
}
_OBJECT_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def resolve_storage(spec: str | os.PathLike[str] | Storage) -> Storage:
    """Return the storage that `spec` names.

    A storage names itself; a path names a folder; a URL names what its scheme says: `file:///folder`, `memory://name`,
    `s3://bucket/prefix`, `gs://...`, `az://...`, and any other scheme a file system of fsspec.
    """
    if isinstance(spec, Storage):
        return spec
    if not isinstance(spec, (str, os.PathLike)):
        raise ConfigurationError(
            f"A storage is a Storage, a path or a URL, not {spec!r} of type {type(spec).__name__}."
        )
    text = os.fspath(spec)
    if not text or not isinstance(text, str):
        raise ConfigurationError(f"A storage's path must be a text that is not empty, got {text!r}.")
    url = _URL.fullmatch(text) if isinstance(spec, str) else None
    return LocalFileSystem(text) if url is None else _resolve_url(text, url[1].lower(), url[2])


def _resolve_url(url: str, scheme: str, rest: str) -> Storage:
    if scheme == "file":
        return LocalFileSystem(_path_of(url, rest))
    if scheme == "memory":
        return MemoryFileSystem(rest.strip("/") or "default")
    if scheme in _OBJECT_SCHEMES:
        return _make("flowstone.filesystems.objects", "ObjectStorage", url)
    return _make("flowstone.filesystems.remote", "RemoteFileSystem", url)


def _path_of(url: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigurationError(f"{url!r} must name an absolute path on this machine: file:///folder.")
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), f"/{path}".encode())
    return os.fsdecode(raw)


def _make(module: str, name: str, url: str) -> Storage:
    storage = getattr(import_module(module), name)(url)
    if not isinstance(storage, Storage):
        raise TypeError(f"{name} is not a Storage")
    return storage


def sweep(storage: Storage) -> SweepReport:
    """Remove what dead writers left in `storage` and finish what they committed; say what was done."""
    return storage.sweep()
