"""A storage in an object store: Amazon S3 and what speaks its language, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from flowstone.exceptions import ConfigurationError, KeyPathError, StoreError
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
from flowstone.filesystems.object_address import ObjectAddress
from flowstone.filesystems.object_client import Found, ObjectClient, Version
from flowstone.filesystems.object_groups import Groups, Moved
from flowstone.filesystems.object_pointer import POINTER_SIZE, Pointer, Target, looks_like_pointer
from flowstone.filesystems.object_probe import honours_conditions
from flowstone.filesystems.object_sweep import sweep
from flowstone.locking.objects import ObjectLockManager

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

_LONGEST_PATH: Final = 1024  # bytes, in all three services
_LOOKS: Final = 50
_DAY: Final = 86_400.0


class _Seen(NamedTuple):
    """What stands at a key for its readers: where the bytes are, how many, and the stamp of this version.

    `there` is the version of the object at the key itself; `data` are the bytes if they are at hand already.
    """

    path: str
    size: int
    stamp: Stamp
    there: Version
    data: bytes | memoryview | None = None


class ObjectStorage(Storage):
    """Keeps blobs as objects: `ObjectStorage("s3://bucket/prefix")`, `gs://bucket/prefix`, `az://container/prefix`.

    What the environment does not tell goes in as options, with the names obstore gives them: `region`, `endpoint`,
    `access_key_id`, `secret_access_key`, `skip_signature`, `account_name`, `account_key`, `service_account`,
    `client_options`, `credential_provider` and so on. They travel with a pickled storage; what the environment told
    does not, except the endpoint.

    A request that gets no answer for `timeout` seconds is given up; failed ones are tried again up to `retries` times
    within twice the timeout. A server that ignores conditional writes is found out when coordination is first asked
    for: then `coordinates` and `atomic_groups` are false.
    """

    def __init__(self, url: str, *, timeout: float = 30.0, retries: int = 5, **options: object) -> None:
        self._begin(ObjectClient(ObjectAddress(url, options, timeout=timeout, retries=retries)))

    def _begin(self, client: ObjectClient, *, patience: float = 30.0, conditions: bool | None = None) -> None:
        self.client = client
        self._groups = Groups(client, patience=patience)
        self._patience = patience
        self._conditions = conditions

    @classmethod
    def over(cls, client: ObjectClient, *, patience: float = 30.0, conditions: bool | None = None) -> ObjectStorage:
        """Return a storage that speaks through `client`.

        A group without a verdict is aborted after `patience` seconds. `conditions` tells whether the server honours
        conditional writes, if that is known.
        """
        storage = cls.__new__(cls)
        storage._begin(client, patience=patience, conditions=conditions)
        return storage

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.client.address.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.client, self._patience, self._conditions)

    @property
    def identity(self) -> str:
        return self.client.address.identity

    # --- coordination

    @property
    def coordinates(self) -> bool:  # type: ignore[override]  # known only when the server has been tried
        """Whether conditional writes work here; tried at the first question, which raises StoreError if it cannot."""
        if self._conditions is None:
            self._conditions = honours_conditions(self.client)
        return self._conditions

    @property
    def atomic_groups(self) -> bool:  # type: ignore[override]  # the same
        """Whether a group is published in one step: where conditional writes work."""
        return self.coordinates

    def require_coordination(self) -> None:
        """Raise ConfigurationError if the server ignores the conditions of writes."""
        if not self.coordinates:
            raise ConfigurationError(
                f"{self.client.address.url} cannot coordinate: its server accepts a conditional write whose condition "
                "does not hold. Use a lock manager of another kind, READ_COMMITTED isolation, or another server."
            )

    def natural_lock_manager(self) -> LockManager | None:
        """Return leases kept in the store itself; the first use raises ConfigurationError if it cannot coordinate."""
        return ObjectLockManager(self)

    def compare_and_swap(self, key: str, parts: Sequence[Buffer], stamp: Stamp | None) -> Stamp | None:
        """Write a blob if the one there has this stamp (None: if there is none); return the new stamp, else None."""
        self.require_coordination()
        path = self._path(key)
        if stamp is None:
            return self._create(path, parts)
        seen = self._look(path)
        if seen is None or seen.stamp != stamp:
            return None
        parts, target = self._disguised(path, parts)
        version = self.client.swap(path, parts, seen.there)
        return None if version is None else _stamp(version, target)

    # --- reading

    def get(self, key: str) -> Blob | None:
        path = self._path(key)
        found = self.client.get(path)
        if found is None:
            return None
        if found.version.size != POINTER_SIZE:
            return Blob(found.data, _stamp(found.version))
        missed: Version | None = None
        for _ in range(_LOOKS):
            seen = self._resolve(path, found)
            if seen is None:
                return None
            if seen.data is not None:
                return Blob(seen.data, seen.stamp)
            payload = self.client.get(seen.path)
            if payload is not None:
                return Blob(payload.data, seen.stamp)
            if seen.there.is_same(missed):
                return None  # the pointer dangles: its bytes were removed and it was not
            missed = seen.there
            found = self.client.get(path)
            if found is None:
                return None
        raise _restless(path)

    def stamp(self, key: str) -> Stamp | None:
        seen = self._look(self._path(key))
        return None if seen is None else seen.stamp

    def head(self, key: str, size: int) -> bytes | None:
        path = self._path(key)
        found = self.client.get_start(path, max(size, 1))
        if found is not None and found.version.size == POINTER_SIZE:
            seen = self._look(path)
            if seen is None or seen.path != path:
                found = None if seen is None else self.client.get_start(seen.path, max(size, 1))
        return None if found is None else bytes(found.data[:size])

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the entries, a page of the listing at a time; when a blob was last used is not known here."""
        for version in self.client.list(prefix.rpartition("/")[0]):
            key = version.path
            if key.startswith(INTERNAL_PREFIX) or not key.startswith(prefix):
                continue
            if version.size == POINTER_SIZE:
                seen = self._look(key)
                if seen is None:
                    continue
                yield Entry(key, seen.size, seen.there.modified, seen.there.modified)
            else:
                yield Entry(key, version.size, version.modified, version.modified)

    # --- writing

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        path = self._path(key)
        if mode == WriteMode.CREATE_ONLY:
            return self._create(path, parts)
        parts, target = self._disguised(path, parts)
        return _stamp(self.client.put(path, parts), target)

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        """Write all blobs of the group so that readers see all of them or none; `object_groups` tells how.

        Where the server ignores conditional writes they are written one after the other.
        """
        blobs = {self._path(key): parts for key, parts in group}
        if len(blobs) > 1 and self.coordinates:
            self._groups.publish(blobs)
            return
        for path, parts in blobs.items():
            self.put(path, parts)

    def delete(self, key: str) -> bool:
        path = self._path(key)
        seen = self._look(path)
        if seen is None:
            return False
        self.client.delete(path)
        if seen.path != path:
            self.client.delete(seen.path)
        return True

    def sweep(self, older_than: float = _DAY) -> SweepReport:
        """Finish or undo groups whose writers died, and remove what nobody needs any more.

        Only what is older than `older_than` seconds is touched. A group whose writer sleeps longer than that between
        its preparation and its verdict could lose its records, so keep it far above any pause of a process.
        """
        return sweep(self.client, self._groups, older_than)

    def read_path(self, path: str) -> bytes:
        """Return the bytes under `path`; raise StoreError if there are none."""
        blob = self.get(path)
        if blob is None:
            raise StoreError(f"There is nothing at {path!r} in {self.client.address.url}.")
        return bytes(blob.data)

    def write_path(self, path: str, content: bytes) -> None:
        """Write `content` under `path`."""
        self.put(path, [content])

    # --- how it is done

    def _path(self, key: str) -> str:
        check_key(key)
        prefix = self.client.address.prefix
        if len(prefix.encode()) + 1 + len(key.encode()) > _LONGEST_PATH:
            raise KeyPathError(f"Cache key {key[:40]!r}... under {prefix!r} is longer than {_LONGEST_PATH} bytes.")
        return key

    def _look(self, path: str) -> _Seen | None:
        """Return what stands at a key without reading it: one request, and a few more if it was written in a group."""
        version = self.client.head(path)
        if version is None:
            return None
        if version.size != POINTER_SIZE:
            return _Seen(path, version.size, _stamp(version), version)
        found = self.client.get(path)
        return None if found is None else self._resolve(path, found)

    def _resolve(self, path: str, found: Found) -> _Seen | None:
        """Follow the pointer that `found` may be."""
        for _ in range(_LOOKS):
            version = found.version
            pointer = Pointer.decode(found.data)
            if pointer is None:
                return _Seen(path, version.size, _stamp(version), version, found.data)
            try:
                target = self._groups.target(version, pointer)
            except Moved:
                again = self.client.get(path)
                if again is None:
                    return None
                found = again
                continue
            if target is None:
                return None
            return _Seen(target.path, target.size, _stamp(version, target), version)
        raise _restless(path)

    def _create(self, path: str, parts: Sequence[Buffer]) -> Stamp | None:
        if not self.coordinates:  # then this is a courtesy, not a promise
            return None if self._look(path) is not None else self.put(path, parts)
        parts, target = self._disguised(path, parts)
        for _ in range(_LOOKS):
            won, version = self.client.create(path, parts)
            if won and version is not None:
                return _stamp(version, target)
            if version is None:  # it has just gone
                continue
            if version.size != POINTER_SIZE:
                return None
            found = self.client.get(path)
            if found is None:
                continue
            if self._resolve(path, found) is not None:
                return None
            replaced = self.client.swap(path, parts, found.version)  # a pointer that stands for nothing
            if replaced is not None:
                return _stamp(replaced, target)
        raise _restless(path)

    def _disguised(self, path: str, parts: Sequence[Buffer]) -> tuple[Sequence[Buffer], Target | None]:
        """Return what to write at a key: the blob, or a pointer to it if it would itself be taken for a pointer."""
        if not looks_like_pointer(parts):
            return parts, None
        target = self._groups.put_aside(path, parts)
        return [Pointer("", pending=False, new=target).encode()], target


def _stamp(version: Version, target: Target | None = None) -> Stamp:
    """Return the stamp of a version, or of bytes which lie at a place of their own and are never replaced there."""
    if target is not None:
        return Stamp((target.path,))
    return Stamp((version.writer, version.etag, version.version, version.size))


def _restless(path: str) -> StoreError:
    return StoreError(f"Cannot read {path!r}: it changes faster than it can be read.")


def _rebuild(cls: type[ObjectStorage], client: ObjectClient, patience: float, conditions: bool | None) -> ObjectStorage:
    return cls.over(client, patience=patience, conditions=conditions)
