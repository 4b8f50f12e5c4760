"""The long tail of file systems, through fsspec: SFTP, SMB, HDFS, WebDAV and whatever else has an adapter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from importlib.util import find_spec
from threading import RLock
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

from flowstone.exceptions import ConfigurationError, StoreError
from flowstone.filesystems.base import (
    INTERNAL_PREFIX,
    Blob,
    Buffer,
    Entry,
    Stamp,
    Storage,
    SweepReport,
    WriteMode,
    check_key,
)
from flowstone.ids import new_id
from flowstone.locking.forks import after_fork

T = TypeVar("T")

_DAY: Final = 86_400.0
_TEMPORARY: Final = f"{INTERNAL_PREFIX}/tmp"

# Here a file appears when it is complete. Elsewhere it is written beside and renamed.
_WHOLE_AT_ONCE: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"})
_TIMES: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_SECRET: Final = ("key", "secret", "password", "passwd", "passphrase", "token", "credential")


class _System(Protocol):
    """What we use of fsspec's file systems, in its words."""

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes: ...
    def info(self, path: str) -> Mapping[str, object]: ...
    def invalidate_cache(self) -> None: ...
    def ls(self, path: str, detail: bool) -> Sequence[Mapping[str, object]]: ...
    def makedirs(self, path: str, exist_ok: bool) -> None: ...
    def mv(self, path1: str, path2: str) -> None: ...
    def pipe_file(self, path: str, value: bytes) -> None: ...
    def rm_file(self, path: str) -> None: ...


class RemoteFileSystem(Storage):
    """Keeps blobs on any file system fsspec knows: `RemoteFileSystem("sftp://host/folder", settings={...})`.

    `settings` go to the adapter, whose package has to be installed; they travel with a pickled storage. What a file
    system of unknown nature can do is little: racing writers of one key are not told apart (`coordinates` is false),
    groups are written one by one (`atomic_groups` is false), a stamp is a digest of the bytes and so costs reading
    them, and how long a request may hang is up to the adapter. For S3, Google Cloud Storage and Azure, `ObjectStorage`
    does better.
    """

    coordinates = False
    atomic_groups = False

    def __init__(self, basepath: str, settings: Mapping[str, object] | None = None) -> None:
        parts = urlsplit(basepath)
        if not parts.scheme or "://" not in basepath:
            raise ConfigurationError(
                f"{basepath!r} names no file system; write scheme://place, as in sftp://host/folder."
            )
        if find_spec("fsspec") is None:
            raise ConfigurationError(f"{parts.scheme}:// needs the package fsspec: pip install 'flowstone[fsspec]'.")
        self.basepath = basepath.rstrip("/") if parts.path.strip("/") or parts.netloc else basepath
        self.settings = dict(settings or {})
        self._scheme = parts.scheme
        self._forget()
        after_fork(self, RemoteFileSystem._forget)

    def _forget(self) -> None:
        self._lock = RLock()
        self._connection: tuple[_System, str] | None = None

    @property
    def identity(self) -> str:
        """Name the place: the URL without its password, and a digest of the settings that are no secrets."""
        told = {name: value for name, value in self.settings.items() if not any(word in name for word in _SECRET)}
        if not told:
            return self._public()
        return f"{self._public()}?settings={_digest(repr(sorted(told.items())).encode()).hex()[:16]}"

    def _public(self) -> str:
        parts = urlsplit(self.basepath)
        user, at, host = parts.netloc.rpartition("@")
        return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"

    def __repr__(self) -> str:
        return f"RemoteFileSystem({self._public()!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return RemoteFileSystem, (self.basepath, self.settings)

    # --- reading

    def get(self, key: str) -> Blob | None:
        data = self._read(key)
        return None if data is None else Blob(data, Stamp((_digest(data),)))

    def stamp(self, key: str) -> Stamp | None:
        data = self._read(key)
        return None if data is None else Stamp((_digest(data),))

    def head(self, key: str, size: int) -> bytes | None:
        try:
            start = self._read(key, max(size, 1))
        except StoreError:  # an adapter may not know what to do with a part of an empty file
            start = self._read(key)
        return None if start is None else start[:size]

    def _read(self, key: str, size: int | None = None) -> bytes | None:
        check_key(key)

        def read(system: _System, root: str) -> bytes | None:
            try:
                return bytes(system.cat_file(f"{root}/{key}", start=None if size is None else 0, end=size))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

        return self._ask(f"read {key!r} from", read)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the entries, a folder at a time; when a blob was last used is not known here."""
        folders = [prefix.rpartition("/")[0]]
        while folders:
            folder = folders.pop()
            for name, entry in self._listed(folder):
                if entry is None:
                    if not name.startswith(INTERNAL_PREFIX) and (name.startswith(prefix) or prefix.startswith(name)):
                        folders.append(name)
                elif name.startswith(prefix) and not name.startswith(INTERNAL_PREFIX):
                    yield entry

    def _listed(self, folder: str) -> list[tuple[str, Entry | None]]:
        """Return the names in a folder, with an entry for each that is a file."""

        def listing(system: _System, root: str) -> list[tuple[str, Entry | None]]:
            place = f"{root}/{folder}" if folder else root
            try:
                system.invalidate_cache()  # adapters remember listings, and others write too
                found = system.ls(place, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return [named for info in found if (named := _named(info, root, place)) is not None]

        return self._ask(f"list {folder!r} in", listing)

    # --- writing

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        """Write a blob; with CREATE_ONLY one of two racing writers may replace the other's."""
        check_key(key)
        data = b"".join(parts)

        def write(system: _System, root: str) -> bool:
            target = f"{root}/{key}"
            if mode == WriteMode.CREATE_ONLY and _exists(system, target):
                return False
            if self._scheme in _WHOLE_AT_ONCE:
                system.pipe_file(target, data)
            else:
                _write_beside(system, root, target, data)
            return True

        return Stamp((_digest(data),)) if self._ask(f"write {key!r} to", write) else None

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        """Write the blobs of the group one after the other."""
        blobs = dict(group)
        for key in blobs:
            check_key(key)
        for key, parts in blobs.items():
            self.put(key, parts)

    def delete(self, key: str) -> bool:
        check_key(key)

        def remove(system: _System, root: str) -> bool:
            path = f"{root}/{key}"
            if not _exists(system, path):
                return False
            try:
                system.rm_file(path)
            except FileNotFoundError:
                return False
            return True

        return self._ask(f"delete {key!r} from", remove)

    def sweep(self, older_than: float = _DAY) -> SweepReport:
        """Remove files that writers died over, if older than `older_than` seconds by this machine's clock."""
        files = [entry for _, entry in self._listed(_TEMPORARY) if entry is not None]
        old = [entry for entry in files if time.time() - entry.modified >= older_than]

        def remove(system: _System, root: str) -> None:
            for entry in old:
                system.rm_file(f"{root}/{entry.key}")

        self._ask("sweep", remove)
        return SweepReport(len(old), sum(entry.size for entry in old), len(files) - len(old))

    def read_path(self, path: str) -> bytes:
        """Return the bytes under `path`; raise StoreError if there are none."""
        data = self._read(path)
        if data is None:
            raise StoreError(f"There is nothing at {path!r} in {self._public()}.")
        return data

    def write_path(self, path: str, content: bytes) -> None:
        """Write `content` under `path`."""
        self.put(path, [content])

    # --- how it is done

    def _ask(self, doing: str, request: Callable[[_System, str], T]) -> T:
        """Do something with the file system, which may raise anything; few adapters can be used by two threads."""
        with self._lock:
            if self._connection is not None:
                try:
                    return request(*self._connection)
                except Exception:
                    self._connection = None  # it may have been cut while it was idle: one more attempt, with a new one
            connection = self._connect()
            try:
                return request(*connection)
            except Exception as error:
                self._connection = None
                raise StoreError(f"Cannot {doing} {self._public()}: {type(error).__name__}: {error}") from error

    def _connect(self) -> tuple[_System, str]:
        if self._connection is None:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # optional dependency

            try:
                system, root = url_to_fs(self.basepath, skip_instance_cache=True, **self.settings)
            except (ImportError, ValueError, TypeError) as error:
                raise ConfigurationError(f"{self._scheme}:// cannot be used: {error}") from error
            except Exception as error:
                raise StoreError(f"Cannot reach {self._public()}: {type(error).__name__}: {error}") from error
            self._connection = system, root.rstrip("/")
        return self._connection


def _exists(system: _System, path: str) -> bool:
    system.invalidate_cache()
    try:
        return bool(system.info(path)["type"] == "file")
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write_beside(system: _System, root: str, target: str, data: bytes) -> None:
    """Write a file under a name of its own and rename it, so that no reader sees a part of it."""
    temporary = f"{root}/{_TEMPORARY}/{new_id()}"
    for path in (temporary, target):
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
    try:
        system.pipe_file(temporary, data)
        try:
            system.mv(temporary, target)
        except FileExistsError:  # some systems do not rename onto what is there
            system.rm_file(target)
            system.mv(temporary, target)
    except BaseException:
        if _exists(system, temporary):
            system.rm_file(temporary)
        raise


def _named(info: Mapping[str, object], root: str, place: str) -> tuple[str, Entry | None] | None:
    """Return the name of a listed thing relative to the root, and its entry if it is a file."""
    path, root = (f"/{text.strip('/')}".rstrip("/") for text in (str(info["name"]), root))  # adapters differ here
    if not path.startswith(f"{root}/") or path == f"/{place.strip('/')}":
        return None  # a folder that lists itself
    name = path[len(root) + 1 :]
    if info["type"] != "file":
        return name, None
    moment = _moment(info)
    size = info.get("size")
    return name, Entry(name, size if isinstance(size, int) else 0, moment, moment)


def _moment(info: Mapping[str, object]) -> float:
    """Return when a file was modified; where nobody says, it is as good as new."""
    value = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else time.time()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
