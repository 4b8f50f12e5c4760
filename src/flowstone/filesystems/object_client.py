"""The requests an object store answers: each method is one of them, with our errors and our types."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from flowstone.exceptions import FlowstoneException, StoreError
from flowstone.filesystems.base import Buffer
from flowstone.filesystems.object_errors import is_missing_bucket, store_error
from flowstone.filesystems.object_fork import ensure_library, leave_alone
from flowstone.ids import new_id
from flowstone.locking.forks import after_fork

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta, PutMode, PutResult, UpdateVersion
    from obstore.store import ObjectStore

    from flowstone.filesystems.object_address import ObjectAddress

T = TypeVar("T")

_IN_ONE_REQUEST: Final = 16 << 20
_CHUNK: Final = 8 << 20
_MOST_CHUNKS: Final = 5_000  # S3 takes 10,000
_UPLOADS_AT_ONCE: Final = 4  # more of them starve each other into timeouts on a slow line
_SLOWEST_LINE: Final = 512 << 10  # bytes per second a single large request is given time for
_PAGE: Final = 1_000
_SMALL: Final = 64 << 10
_WRITER: Final = "writer"


class Version(NamedTuple):
    """Which version of which object.

    `writer` is the name its write went by, if it was one of ours and the answer tells it (a listing does not).
    `modified` is in seconds since the epoch, 0.0 where the answer does not tell it.
    """

    path: str
    etag: str
    version: str | None
    size: int
    modified: float
    writer: str | None = None

    def is_same(self, other: Version | None) -> bool:
        """Say whether `other` is this version of the object."""
        return other is not None and (self.etag, self.version, self.size) == (other.etag, other.version, other.size)


class Found(NamedTuple):
    """The bytes of an object and their version."""

    data: bytes | memoryview
    version: Version


class ObjectClient:
    """Speaks to one place in an object store; connects at the first request. Safe from any thread; pickles."""

    def __init__(self, address: ObjectAddress) -> None:
        self.address = address
        self._connections: dict[float, ObjectStore] = {}
        self._lock = threading.Lock()
        after_fork(self, ObjectClient._leave_connections)

    def _leave_connections(self) -> None:
        leave_alone(self._connections)
        self._connections = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.address,)

    def hurried(self, timeout: float) -> ObjectClient:
        """Return a client of the same place that gives requests up after `timeout` seconds at most."""
        return self if timeout >= self.address.timeout else ObjectClient(self.address.with_timeout(timeout))

    # --- reading

    def get(self, path: str) -> Found | None:
        """Fetch an object."""

        def request() -> Found:
            answer = self._store().get(path)
            data = answer.bytes()
            return Found(bytes(data) if len(data) <= _SMALL else memoryview(data), _answered(answer, path))

        return self._ask_existing("read", path, request)

    def get_start(self, path: str, size: int) -> Found | None:
        """Fetch at most the first `size` bytes of an object; its version tells the whole size."""

        def request() -> Found:
            answer = self._store().get(path, options={"range": (0, size)})
            return Found(bytes(answer.bytes()), _answered(answer, path))

        try:
            return self._ask_existing("read", path, request)
        except StoreError:
            there = self.head(path)
            if there is not None and there.size == 0:  # an empty object has no first byte, and servers say so
                return Found(b"", there)
            raise

    def head(self, path: str) -> Version | None:
        """Return the version of an object without its bytes."""

        def request() -> Version:
            return _answered(self._store().get(path, options={"head": True}), path)

        return self._ask_existing("look at", path, request)

    def list(self, prefix: str) -> Iterator[Version]:
        """Yield the version of each object in the folder `prefix` and below it, page by page."""
        pages = self._ask("list", prefix, lambda: self._store().list(prefix or None, chunk_size=_PAGE))
        while (page := self._ask("list", prefix, lambda: next(pages, None))) is not None:
            for meta in page:
                yield _version(meta, meta["path"])

    # --- writing

    def put(self, path: str, parts: Sequence[Buffer]) -> Version:
        """Write an object, whatever is there; a large one goes up in chunks and appears when the last is there."""
        views, size = _views(parts)
        writer = new_id()
        if size <= _IN_ONE_REQUEST:

            def request() -> PutResult:
                return self._store().put(path, views, attributes={_WRITER: writer}, use_multipart=False)
        else:

            def request() -> PutResult:
                return self._store().put(
                    path,
                    views,
                    attributes={_WRITER: writer},
                    chunk_size=max(_CHUNK, size // _MOST_CHUNKS),
                    max_concurrency=_UPLOADS_AT_ONCE,
                )

        return self._written(self._ask("write", path, request), path, size, writer)

    def create(self, path: str, parts: Sequence[Buffer]) -> tuple[bool, Version | None]:
        """Write an object unless one is there; say whether we did, and which version is there now.

        A retried request can lose against its own first attempt, whose answer got lost: the writer's name on the
        object tells. (False, None): the one that was there has gone again.
        """
        version, writer = self._put_if("create", path, parts, "create")
        if version is not None:
            return True, version
        there = self.head(path)
        return (False, None) if there is None else (there.writer == writer, there)

    def swap(self, path: str, parts: Sequence[Buffer], expected: Version) -> Version | None:
        """Write an object if the version there is `expected`, else return None; a retried request may get None too."""
        mode: UpdateVersion = {"e_tag": expected.etag}
        if expected.version is not None:
            mode["version"] = expected.version
        version, _ = self._put_if("replace", path, parts, mode)
        return version

    def _put_if(self, doing: str, path: str, parts: Sequence[Buffer], mode: PutMode) -> tuple[Version | None, str]:
        """Write an object on a condition; return its version if that held, and the name the write went by."""
        views, size = _views(parts)
        writer = new_id()

        def request() -> PutResult | None:
            try:
                return self._store(size).put(path, views, attributes={_WRITER: writer}, mode=mode)
            except _refusals() as error:
                if is_missing_bucket(error):
                    raise
                return None

        answer = self._ask(doing, path, request)
        return None if answer is None else self._written(answer, path, size, writer), writer

    def copy(self, source: str, target: str) -> bool:
        """Copy an object inside the store; say whether there was one."""
        if self.address.service == "az":  # which may answer before the copy is made, and fails it if the source changes
            found = self.get(source)
            if found is not None:
                self.put(target, [found.data])
            return found is not None

        def request() -> bool:
            self._store().copy(source, target)
            return True

        return self._ask_existing("copy", source, request) is not None

    def delete(self, *paths: str) -> None:
        """Remove objects that are there; several of them in one request where the service can do that."""
        if paths:
            self._ask_existing("delete", paths[0], lambda: self._store().delete(paths))

    # --- how a request is made

    def _written(self, answer: PutResult, path: str, size: int, writer: str) -> Version:
        return Version(path, _etag(answer["e_tag"], path), answer["version"], size, 0.0, writer)

    def _ask_existing(self, doing: str, path: str, request: Callable[[], T]) -> T | None:
        def ask() -> T | None:
            try:
                return request()
            except FileNotFoundError as error:
                if is_missing_bucket(error):
                    raise
                return None

        return self._ask(doing, path, ask)

    def _ask(self, doing: str, path: str, request: Callable[[], T]) -> T:
        """Make one request; every one goes through here."""
        ensure_library()
        from obstore.exceptions import BaseError  # optional dependency

        try:
            return request()
        except FlowstoneException:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise store_error(error, doing, f"{self.address.url}/{path}") from error

    def _store(self, size: int = 0) -> ObjectStore:
        """Return the connection for a request of `size` bytes: a large one is given more time."""
        patience = 0.0 if size <= _IN_ONE_REQUEST else float(1 << (size // _SLOWEST_LINE).bit_length())
        store = self._connections.get(patience)
        if store is None:
            with self._lock:
                store = self._connections.get(patience)
                if store is None:
                    store = self._connections[patience] = self.address.connect(patience)
        return store


def _answered(answer: GetResult, path: str) -> Version:
    return _version(answer.meta, path, answer.attributes.get(_WRITER))


def _version(meta: ObjectMeta, path: str, writer: str | None = None) -> Version:
    etag = _etag(meta["e_tag"], path)
    return Version(path, etag, meta["version"], meta["size"], meta["last_modified"].timestamp(), writer)


def _etag(etag: str | None, path: str) -> str:
    if etag is None:
        raise StoreError(f"{path!r} has no entity tag: this server cannot keep a store.")
    return etag


def _refusals() -> tuple[type[Exception], ...]:
    """Return how a write is refused whose condition does not hold; which it is differs by service and condition."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError  # optional dependency

    return AlreadyExistsError, PreconditionError, FileNotFoundError


def _views(parts: Sequence[Buffer]) -> tuple[list[bytes | memoryview], int]:
    """Return the parts as the client library takes them, none copied, and their size in bytes."""
    views = [part if type(part) is bytes else memoryview(part).cast("B") for part in parts]
    return views, sum(len(view) for view in views)
