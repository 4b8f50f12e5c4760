"""A folder as a storage: one file per key, named exactly as the key.

    <basepath>/<key>                    the blobs; "/" in a key makes folders
    <basepath>/.flowstone-store         says that this is a store, and its format
    <basepath>/.flowstone/tmp/          files being written
    <basepath>/.flowstone/new.*/        groups being written
    <basepath>/.flowstone/group/        a committed group whose files are being moved to their places (groups.py)
    <basepath>/.flowstone/locks/        locks

A blob is written beside and renamed, so a name means a whole blob or none. No file is written again once it has its
name: who has it open, or mapped, keeps what he opened.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from flowstone.exceptions import ConfigurationError, KeyPathError, StoreError
from flowstone.filesystems import groups
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
from flowstone.filesystems.files import (
    forget,
    link_new,
    read_file,
    read_head,
    refuse_folder,
    stamp_file,
    sync_folder,
    sync_tree,
    touch_file,
    write_file,
)
from flowstone.filesystems.leftovers import PATIENCE_SECONDS, remove_tree, sweep_folder, temp_name
from flowstone.filesystems.marker import make_marker, read_marker
from flowstone.filesystems.paths import EXACT, at, decode, encode, make_at, refuse_link, walk

if TYPE_CHECKING:
    from flowstone.locking.base import LockManager

T = TypeVar("T")

_GROUP = INTERNAL_PREFIX + "/group"
_TOUCH_SECONDS = 3600.0
_MOST_TOUCHED = 100_000


class Durability:
    """What `put` and `publish` promise when they return.

    FAST: a killed process loses nothing and tears nothing; a power failure may lose the last seconds. SAFE: a power
    failure neither, for the price of an fsync of the file and of its folder.
    """

    FAST = "fast"
    SAFE = "safe"


class LocalFileSystem(Storage):
    """Keeps blobs in the folder `basepath` (default: the working directory), one file per key.

    The folder is made at the first write. Threads, processes and hosts may share it; a group shows all at once to all
    processes of a host, and on a network file system as soon as its caches have seen the group.
    """

    def __init__(self, basepath: str | os.PathLike[str] | None = None, *, durability: str = Durability.FAST) -> None:
        if durability not in (Durability.FAST, Durability.SAFE):
            raise ConfigurationError(f"durability must be 'fast' or 'safe', got {durability!r}.")
        self.basepath = os.path.abspath(os.path.expanduser(os.fspath(basepath or ".")))
        self.durability = durability
        self._safe = durability == Durability.SAFE
        self._root = self.basepath.rstrip(os.sep) + "/"
        self._internal = self._root + INTERNAL_PREFIX
        self._temps = self._internal + "/tmp/"
        self._group = self._root + _GROUP
        self._names: str | None = None  # how files are named; None until a marker told
        self._prepared = False
        self._identity = ""
        self._touched: dict[str, float] = {}

    @property
    def identity(self) -> str:
        if not self._identity:
            self._identity = "file://" + os.path.realpath(self.basepath)
        return self._identity

    def __repr__(self) -> str:
        return f"LocalFileSystem({self.basepath!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.basepath, self.durability)

    # Reading. A reader never waits and never writes: if a group is committed, its files are looked for there first.

    def get(self, key: str) -> Blob | None:
        return self._look(read_file, key)

    def stamp(self, key: str) -> Stamp | None:
        return self._look(stamp_file, key)

    def head(self, key: str, size: int) -> bytes | None:
        return self._look(lambda name, where: read_head(name, where, size), key)

    def _look(self, read: Callable[[str, int | None], T | None], key: str) -> T | None:
        name = self._name(key)
        try:
            if os.access(self._group, os.F_OK):
                found = self._find(read, f"{_GROUP}/{name}")
                if found is not None:
                    return found
            if "/" not in name:
                return read(self._root + name, None)
            return self._find(read, name)
        except OSError as error:
            raise self._failed("read", key, error) from error

    def _find(self, read: Callable[[str, int | None], T | None], name: str) -> T | None:
        try:
            return at(self._root, name, read)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            if os.path.isdir(self._root):  # a file lies where the key has a folder
                return None
            raise

    def _name(self, key: str) -> str:
        """Return the name of the file for `key`, relative to the root."""
        check_key(key)
        return encode(key, self._names or self._open())

    def _open(self) -> str:
        """Learn from the marker how files are named; while there is none there is nothing to learn."""
        try:
            self._names = read_marker(self._root)
        except OSError as error:
            raise self._failed("read", ".flowstone-store", error) from error
        return self._names or EXACT

    # Writing. Who replaces or removes a file first finishes a committed group, which is older than his write.

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        check_key(key)
        return self._write(key, lambda: self._put(self._name(key), parts, mode))

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        blobs = dict(group)
        for key in blobs:
            check_key(key)
        if len(blobs) > 1:
            self._write(next(iter(blobs)), lambda: self._publish({self._name(key): blobs[key] for key in blobs}))
            return
        for key, parts in blobs.items():
            self.put(key, parts)

    def delete(self, key: str) -> bool:
        name = self._name(key)
        try:
            self._settle()
            at(self._root, name, lambda last, where: os.unlink(last, dir_fd=where))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.EPERM, errno.ENOTDIR) and self.stamp(key) is None:
                return False
            raise self._failed("delete", key, error) from error
        self._remove_empty_folders(name)
        return True

    def _write(self, key: str, act: Callable[[], T]) -> T:
        """Do `act`, which writes `key`; make the store first if it is not there or was removed."""
        try:
            if self._prepared:
                with suppress(FileNotFoundError):
                    return act()
            self._prepare()
            return act()
        except OSError as error:
            raise self._failed("write", key, error) from error

    def _prepare(self) -> None:
        """Make the store if it is not there, learn its format, and clear away what dead writers left."""
        os.makedirs(self._temps, exist_ok=True)
        refuse_link(self._internal)
        refuse_link(self._temps.rstrip("/"))
        self._names = make_marker(self._root, self._temps)
        if self._safe:
            sync_folder(self._internal)
            sync_folder(self._root)
        if not self._prepared:
            self._sweep_temps(PATIENCE_SECONDS)
        self._prepared = True

    def _put(self, name: str, parts: Sequence[Buffer], mode: str) -> Stamp | None:
        temp = self._temps + temp_name()
        stamp = write_file(temp, parts, sync=self._safe)
        try:
            self._settle()
            placed = self._place(temp, name, mode)
        except BaseException:
            forget(temp)
            raise
        if self._safe:
            self._sync_above([name])
        return stamp if placed else None

    def _place(self, temp: str, name: str, mode: str) -> bool:
        """Give the file `temp` its name; return False if CREATE_ONLY found one there already."""
        if mode == WriteMode.CREATE_ONLY:
            return make_at(
                self._root, name, lambda last, where: link_new(temp, last, where, self._internal + "/create")
            )
        make_at(self._root, name, lambda last, where: os.replace(temp, last, dst_dir_fd=where))
        return True

    def _publish(self, blobs: dict[str, Sequence[Buffer]]) -> None:
        new = f"{self._internal}/new.{temp_name()}"
        os.mkdir(new)
        try:
            for name, parts in blobs.items():
                self._write_new(new + "/", name, parts)
            if self._safe:
                sync_tree(new)
            groups.commit(new, self._group, self._root)
        except BaseException:
            with suppress(OSError):
                remove_tree(new)
            raise
        if self._safe:
            sync_folder(self._internal)
        # The group is visible and stays so. Should moving its files fail (a full disk, say), a later writer does it.
        with suppress(OSError):
            groups.settle(self._group, self._root, blobs)
            if self._safe:
                self._sync_above(blobs)

    def _settle(self) -> int:
        return groups.settle(self._group, self._root) if os.access(self._group, os.F_OK) else 0

    def _write_new(self, base: str, name: str, parts: Sequence[Buffer]) -> None:
        """Write one blob of a group, unless a folder lies in its place or a file in its folder's."""
        with suppress(FileNotFoundError):
            at(self._root, name, refuse_folder)
        make_at(base, name, lambda last, where: write_file(last, parts, where, sync=self._safe))

    def _sync_above(self, names: Iterable[str]) -> None:
        """Put the names of these files, and of the folders above them, on the disk."""
        folders = {""}
        for name in names:
            while name := name.rpartition("/")[0]:
                folders.add(name)
        for folder in folders:
            with suppress(FileNotFoundError):
                sync_folder(self._root + folder)

    def _remove_empty_folders(self, name: str) -> None:
        while name := name.rpartition("/")[0]:
            try:
                os.rmdir(self._root + name)
            except OSError:
                return

    # Listing and keeping house.

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        seen: set[str] = set()
        try:
            start = encode(prefix, self._names or self._open())
            if os.access(self._group, os.F_OK):
                refuse_link(self._group)
                for entry in self._entries(self._group + "/", start):
                    seen.add(entry.key)
                    yield entry
            for entry in self._entries(self._root, start):
                if entry.key not in seen:
                    yield entry
        except OSError as error:
            raise self._failed("list", prefix, error) from error

    def _entries(self, base: str, start: str) -> Iterator[Entry]:
        names = self._names or EXACT
        for name, entry in walk(base, start):
            try:
                key = decode(name, names)
                check_key(key)
                status = entry.stat(follow_symlinks=False)
            except (KeyPathError, FileNotFoundError):  # not one of ours, or gone meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                yield Entry(key, status.st_size, status.st_mtime, max(status.st_atime, status.st_mtime))

    def touch(self, key: str) -> None:
        now = time.time()
        if now - self._touched.get(key, 0.0) < _TOUCH_SECONDS:
            return
        if len(self._touched) >= _MOST_TOUCHED:
            self._touched.clear()
        self._touched[key] = now
        with suppress(OSError, KeyPathError):
            self._look(lambda name, where: touch_file(name, where, now, _TOUCH_SECONDS), key)

    def sweep(self, *, patience: float = PATIENCE_SECONDS) -> SweepReport:
        if self._names is None:
            self._open()
        try:
            finished = bool(self._settle())
        except OSError as error:
            raise self._failed("finish the group in", INTERNAL_PREFIX, error) from error
        swept = self._sweep_temps(patience)
        return swept._replace(finished=int(finished))

    def _sweep_temps(self, patience: float) -> SweepReport:
        files = sweep_folder(self._temps, patience=patience)
        folders = sweep_folder(self._internal, prefix="new.", patience=patience)
        return SweepReport(*(one + other for one, other in zip(files, folders)))

    def natural_lock_manager(self) -> LockManager:
        from flowstone.locking.filesystem import FileSystemLockManager

        return FileSystemLockManager(self._internal + "/locks")

    # By path, for those who know file systems by these names.

    def read_path(self, path: str | os.PathLike[str]) -> bytes:
        """Return the bytes at `path`, relative to the basepath or absolute inside it."""
        key = self._key(path)
        blob = self.get(key)
        if blob is None:
            raise StoreError(f"There is nothing at {key!r} in {self.basepath}.")
        return bytes(blob.data)

    def write_path(self, path: str | os.PathLike[str], content: bytes) -> None:
        """Write `content` at `path`, relative to the basepath or absolute inside it."""
        self.put(self._key(path), [content])

    def _key(self, path: str | os.PathLike[str]) -> str:
        text = os.fspath(path)
        return text.removeprefix(self._root) if os.path.isabs(text) else text

    def _failed(self, doing: str, key: str, error: OSError) -> StoreError:
        if isinstance(error, StoreError):
            return error
        hint = _HINTS.get(error.errno or 0, "")
        failure = StoreError(
            f"Cannot {doing} {key!r} in the store {self.basepath}: {error.strerror or error}. {hint}".rstrip()
        )
        failure.errno = error.errno
        return failure


_HINTS = {
    errno.ENOSPC: "Make room on the disk, or prune the store.",
    errno.EDQUOT: "Make room in your quota, or prune the store.",
    errno.EFBIG: "The blob is larger than the limit for a file.",
    errno.EACCES: "Check who owns the store and its permissions.",
    errno.EPERM: "Check who owns the store and its permissions.",
    errno.EROFS: "The file system is read-only; choose another store for writing.",
    errno.ENOTDIR: "A file lies where the store or a folder of the key should be.",
    errno.EISDIR: "A key cannot be both a record and the folder of others.",
    errno.ELOOP: "A store follows no links; put the file itself there.",
    errno.EXDEV: "A folder of the key is on another file system; make the store one file system.",
}


def _rebuild(basepath: str, durability: str) -> LocalFileSystem:
    return LocalFileSystem(basepath, durability=durability)
