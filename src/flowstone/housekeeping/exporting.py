"""A selection of records as one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from flowstone.exceptions import StoreError
from flowstone.housekeeping.archive import HALVES, WHOLE, ArchiveWriter
from flowstone.housekeeping.entry import RecordEntry
from flowstone.housekeeping.judging import find_flaw
from flowstone.housekeeping.listing import entries_of
from flowstone.housekeeping.selection import Where
from flowstone.housekeeping.shelf import Shelf
from flowstone.housekeeping.snapshots import Snapshot

if TYPE_CHECKING:
    from flowstone.results import ResultStore


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported; `left_out` are the keys that were meant but could not be, each with the reason."""

    path: str
    records: int
    bytes: int
    left_out: tuple[tuple[str, str], ...]


def export(
    store: ResultStore,
    where: Where,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    now: float | None = None,
) -> ExportReport:
    """Write the records that `where` holds for into one archive at `path`, as they are, signatures and all.

    Every record is verified first; those that are damaged, foreign, of a newer format or gone are left out. The file
    appears when it is complete. Raises StoreError if it cannot be written, or is there and not to be overwritten.
    """
    target = os.path.abspath(os.fspath(path))
    if os.path.lexists(target) and not overwrite:
        raise StoreError(f"{target} is there already; choose another name, or say that it may be overwritten.")
    shelf = Shelf(store, now)
    left_out: list[tuple[str, str]] = []
    records = size = 0
    with _appearing(target) as file:
        archive = ArchiveWriter(file)
        for entry in entries_of(shelf, where):
            flaw = entry.detail or "it is gone" if not entry.ours else _add(shelf, entry, archive)
            if flaw:
                left_out.append((entry.key, flaw))
            else:
                records += 1
                size += entry.size
        archive.finish(shelf.now)
    return ExportReport(target, records, size, tuple(left_out))


@contextmanager
def _appearing(target: str) -> Iterator[BinaryIO]:
    """Open a file that has its name only when it is whole; leave nothing behind if it does not come to that."""
    temporary = f"{target}.{os.getpid()}-{os.urandom(4).hex()}.part"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"The archive {target} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _add(shelf: Shelf, entry: RecordEntry, archive: ArchiveWriter) -> str:
    """Put a record into the archive in the version it has now; say why if that cannot be."""
    with ExitStack() as stack:
        try:
            head = _opened(stack, shelf.reader.open(entry.key))
            verdict = shelf.judge(entry.key, head.beginning())
            if verdict.head is None:
                return verdict.detail
            if not verdict.head.split:
                flaw = find_flaw(verdict.head, head, verdict.head.start)
                pieces = [(WHOLE[0], head)]
            elif shelf.payload_reader is None:
                return "its payload is kept elsewhere"
            else:
                payload = _opened(stack, shelf.payload_reader.open(entry.key))
                flaw = find_flaw(verdict.head, payload, 0)
                pieces = list(zip(HALVES, (head, payload)))
        except OSError as error:
            return str(error)
        if not flaw:
            archive.add(
                entry.key, [(folder, each.size, each.pieces(0, each.size)) for folder, each in pieces], entry.created
            )
        return flaw


def _opened(stack: ExitStack, snapshot: Snapshot | None) -> Snapshot:
    if snapshot is None:
        raise StoreError("it is gone")
    return stack.enter_context(snapshot)
