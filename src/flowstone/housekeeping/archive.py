"""The archive: records as they are, in a plain tar file, and a list of them at its end.

    records/<key>               a whole record
    heads/<key>, payloads/<key> one that was kept in halves
    flowstone-archive.jsonl     the list: a line for the archive, then one for each record

The list comes last, so an archive that was cut short has none and is refused. Nothing is ever unpacked by the names in
the file, and there is no compression: no path leads out and no bomb is in it.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple, Self, cast

from blake3 import blake3

from flowstone._version import VERSION
from flowstone.exceptions import KeyPathError, StoreError
from flowstone.filesystems.base import check_key

FORMAT: Final = 1
LIST: Final = "flowstone-archive.jsonl"
WHOLE: Final = ("records",)
HALVES: Final = ("heads", "payloads")

_LONGEST_LINE: Final = 1 << 16
_DIGEST_DIGITS: Final = 64


class Listed(NamedTuple):
    """What the list says of a record: the folders it lies in, and the size and digest of each piece."""

    key: str
    folders: tuple[str, ...]
    sizes: tuple[int, ...]
    digests: tuple[str, ...]


class Packed(NamedTuple):
    """A record in an archive. `pieces` are views of the file: the whole record, or its head and its payload."""

    key: str
    pieces: tuple[memoryview, ...]
    digests: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(piece.nbytes for piece in self.pieces)

    @property
    def in_halves(self) -> bool:
        return len(self.pieces) == len(HALVES)

    def is_intact(self) -> bool:
        """Say whether the pieces have the digests that the list says, which anybody could have written."""
        return all(blake3(piece).hexdigest() == digest for piece, digest in zip(self.pieces, self.digests))


class ArchiveWriter:
    """Writes an archive, record by record; `finish` makes it one."""

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)
        self._lines: list[str] = []

    def add(self, key: str, pieces: Iterable[tuple[str, int, Iterable[bytes | memoryview]]], modified: float) -> None:
        """Add a record: the folder, size and bytes of each of its pieces. Raises StoreError if bytes are missing."""
        folders, sizes, digests = [], [], []
        for folder, size, data in pieces:
            member = tarfile.TarInfo(f"{folder}/{key}")
            member.size = size
            member.mtime = max(int(modified), 0)
            stream = _Stream(data)
            try:
                self._tar.addfile(member, stream)
            except OSError as error:
                raise StoreError(f"The record of key {key!r} cannot be put into the archive: {error}") from error
            folders.append(folder)
            sizes.append(size)
            digests.append(stream.hasher.hexdigest())
        line = {"key": key, "folders": folders, "sizes": sizes, "digests": digests}
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def finish(self, created: float) -> None:
        title = {"flowstone-archive": FORMAT, "flowstone": VERSION, "created": created, "records": len(self._lines)}
        text = "\n".join([json.dumps(title), *self._lines, ""]).encode()
        member = tarfile.TarInfo(LIST)
        member.size = len(text)
        member.mtime = int(created)
        self._tar.addfile(member, io.BytesIO(text))
        self._tar.close()


class _Stream(io.RawIOBase):
    """Pieces as something to read from, digested as they pass."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self.hasher = blake3()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer came with 3.12
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self.hasher.update(piece)
            self._rest = memoryview(piece)
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class Archive:
    """An archive that was opened and found to be whole; its records can be read until it is closed.

    Raises StoreError if it is not: before anything of it was used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            with open(self.path, "rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.records = list(_packed(self._mapped))
        except OSError as error:
            raise StoreError(f"The archive {self.path} cannot be read: {error.strerror or error}") from error
        except _UNSOUND as error:
            reason = str(error) or type(error).__name__
            raise StoreError(
                f"{self.path} is not an archive of flowstone's, or not a whole one: {reason}. Nothing was imported."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.records.clear()
        with suppress(BufferError):  # somebody still looks at it, and lets it go when he does not
            self._mapped.close()


_UNSOUND: Final = (tarfile.TarError, ValueError, TypeError, KeyError, EOFError, OverflowError, RecursionError)


def _packed(mapped: mmap.mmap) -> Iterator[Packed]:
    view = memoryview(mapped)
    members = _members(mapped)
    for key, folders, sizes, digests in _listed(mapped, members):
        pieces = []
        for folder, size in zip(folders, sizes):
            place = members.pop(f"{folder}/{key}", None)
            if place is None or place[1] != size:
                raise ValueError(f"the record of key {key!r} is not in it as it is listed")
            pieces.append(view[place[0] : place[0] + size])
        yield Packed(key, tuple(pieces), digests)
    if members:
        raise ValueError(f"{next(iter(members))!r} is in it and not in its list")


def _members(mapped: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Return where each member lies and how large it is, by name."""
    members: dict[str, tuple[int, int]] = {}
    # From the map, which never gives more than there is, whatever size a header asks for.
    with tarfile.open(fileobj=cast("BinaryIO", mapped), mode="r:") as tar:
        for member in tar:
            if not member.isreg() or member.sparse is not None:
                raise ValueError(f"{member.name!r} is not a plain file")
            if member.name in members:  # also if sizes below 0 lead round in a circle
                raise ValueError(f"{member.name!r} is in it twice")
            members[member.name] = (member.offset_data, member.size)
    return members


def _listed(mapped: mmap.mmap, members: dict[str, tuple[int, int]]) -> Iterator[Listed]:
    """Read the list, and take it out of the members."""
    place = members.pop(LIST, None)
    if place is None:
        raise ValueError("it has no list of its records")
    lines = _lines(mapped, *place)
    title = next(lines, {})
    if title.get("flowstone-archive") != FORMAT:
        raise ValueError(f"it says format {str(title.get('flowstone-archive'))[:20]}; this flowstone reads {FORMAT}")
    count = 0
    for line in lines:
        yield _checked(line)
        count += 1
    if count != title.get("records"):
        raise ValueError("its list is not complete")


def _lines(mapped: mmap.mmap, start: int, size: int) -> Iterator[dict[str, object]]:
    end = start + size
    while start < end:
        stop = mapped.find(b"\n", start, min(end, start + _LONGEST_LINE))
        if stop < 0:
            raise ValueError("a line of its list is too long or cut short")
        line = json.loads(mapped[start:stop])
        if not isinstance(line, dict):
            raise ValueError("a line of its list is not what it should be")
        yield line
        start = stop + 1


def _checked(line: dict[str, object]) -> Listed:
    key, folders, sizes, digests = (line.get(name) for name in Listed._fields)
    if not (isinstance(key, str) and isinstance(sizes, list) and isinstance(digests, list)):
        raise ValueError("a line of its list is not what it should be")
    try:
        check_key(key)
    except KeyPathError as error:
        raise ValueError(str(error)) from error
    names = tuple(folders) if isinstance(folders, list) else ()
    sound = (
        names in (WHOLE, HALVES)
        and len(names) == len(sizes) == len(digests)
        and all(type(size) is int for size in sizes)
        and all(isinstance(digest, str) and len(digest) == _DIGEST_DIGITS for digest in digests)
    )
    if not sound:
        raise ValueError(f"the line of key {key!r} in its list is not what it should be")
    return Listed(key, names, tuple(sizes), tuple(digests))
