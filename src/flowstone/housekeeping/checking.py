"""Looking for what is wrong in a store, and removing what cannot be right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems.base import Storage, SweepReport
from flowstone.filesystems.leftovers import PATIENCE_SECONDS
from flowstone.filesystems.local import LocalFileSystem
from flowstone.housekeeping.entry import RecordEntry, RecordState
from flowstone.housekeeping.faults import CheckReport, Fault, FaultKind
from flowstone.housekeeping.folder import Folder
from flowstone.housekeeping.judging import is_record
from flowstone.housekeeping.keyfile import find_fault_of_key_file
from flowstone.housekeeping.listing import entries_of
from flowstone.housekeeping.removal import Because, Outcome, Victim, remove_one
from flowstone.housekeeping.selection import EVERYTHING, Where
from flowstone.housekeeping.shelf import Shelf
from flowstone.housekeeping.verifying import verify

if TYPE_CHECKING:
    from flowstone.results import ResultStore

_KINDS: Final = {
    RecordState.DAMAGED: FaultKind.DAMAGED,
    RecordState.HALF: FaultKind.HALF,
    RecordState.UNREADABLE: FaultKind.UNREADABLE,
    RecordState.FOREIGN: FaultKind.FOREIGN,
    RecordState.NEWER: FaultKind.NEWER,
    RecordState.STRAY: FaultKind.STRAY,
}
_REMEDIES: Final = {
    Outcome.REMOVED: "removed",
    Outcome.GONE: "gone meanwhile",
    Outcome.CHANGED: "replaced meanwhile",
}


def check(
    store: ResultStore,
    where: Where = EVERYTHING,
    *,
    repair: bool = False,
    deep: bool = True,
    foreign: bool = False,
    orphans: bool = False,
    signing_key_file: str | os.PathLike[str] | None = None,
    now: float | None = None,
    patience: float = PATIENCE_SECONDS,
) -> CheckReport:
    """Check each record that `where` holds for and, if that is everything, the store around them.

    Every head is authenticated and, if `deep`, every payload compared with it; nothing is deserialised. Found are also
    leftovers of dead writers, unfinished groups, files that do not belong, payloads without a head, and a
    `signing_key_file` that will not be used.

    Without `repair` nothing is changed. A repair finishes groups, clears away what writers left that are dead or have
    been silent for `patience` seconds, and removes records that cannot be right: damaged ones and halves. Records that
    are signed with a key which is not ours go only with `foreign`; payloads without a head, which may have theirs in
    another storage, only with `orphans`; records of a newer format and files that never were records never.

    Raises ConfigurationError if a repair is asked for in a folder that is no store.
    """
    checkup = _Checkup(Shelf(store, now), repair, foreign, orphans, patience)
    if signing_key_file is not None:
        checkup.check_key_file(os.fspath(signing_key_file))
    if where == EVERYTHING:
        checkup.check_surroundings()
    checkup.check_records(where, deep)
    if where == EVERYTHING:
        checkup.check_what_is_between()
    if repair:
        checkup.shelf.flush()
    return checkup.report()


class _Checkup:
    """One run of a check."""

    def __init__(self, shelf: Shelf, repair: bool, foreign: bool, orphans: bool, patience: float) -> None:
        self.shelf = shelf
        self.repair = repair
        self.removable = {FaultKind.DAMAGED, FaultKind.HALF}
        self.removable |= {FaultKind.FOREIGN} if foreign else set()
        self.removable |= {FaultKind.ORPHAN} if orphans else set()
        self.patience = patience
        self.records = self.bytes = self.verified = 0
        self.faults: list[Fault] = []
        self.swept: SweepReport | None = None
        if repair:
            self._refuse_what_is_no_store()

    def report(self) -> CheckReport:
        return CheckReport(self.records, self.bytes, self.verified, tuple(self.faults), self.swept)

    def _note(self, kind: FaultKind, where: str, detail: str, size: int = 0, remedy: str = "") -> None:
        self.faults.append(Fault(kind, where, detail, size, remedy))

    @contextmanager
    def _noting_errors(self, where: str) -> Iterator[None]:
        """Make a fault of the store's own trouble, so that the rest is checked all the same."""
        try:
            yield
        except OSError as error:
            self._note(FaultKind.UNREADABLE, where, str(error))

    def _refuse_what_is_no_store(self) -> None:
        """Raise ConfigurationError for a folder that no store was ever made in: its files are somebody's."""
        for folder, _ in self._folders():
            if folder.exists and not folder.is_store:
                raise ConfigurationError(f"{folder.path} is not a store of flowstone's; nothing is repaired in it.")

    def _folders(self) -> Iterator[tuple[Folder, LocalFileSystem]]:
        for reader, storage in (
            (self.shelf.reader, self.shelf.heads),
            (self.shelf.payload_reader, self.shelf.payloads),
        ):
            if isinstance(reader, Folder) and isinstance(storage, LocalFileSystem):
                yield reader, storage

    # --- around the records

    def check_key_file(self, path: str) -> None:
        detail = find_fault_of_key_file(path)
        if detail:
            self._note(FaultKind.KEY_FILE, path, detail)
            # This process made a key of its own instead: now even our own records look foreign.
            self.removable.discard(FaultKind.FOREIGN)

    def check_surroundings(self) -> None:
        for folder, local in self._folders():
            with self._noting_errors(folder.path):
                self._check_folder(folder, local)
        for storage in (self.shelf.heads, self.shelf.payloads) if self.repair else ():
            if storage is not None and not isinstance(storage, LocalFileSystem):
                with self._noting_errors(storage.identity):
                    self._count_sweep(storage.sweep())

    def _check_folder(self, folder: Folder, storage: LocalFileSystem) -> None:
        unmarked = folder.exists and not folder.marked
        group = folder.waiting_group()
        leftovers = [leftover for leftover in folder.leftovers(self.patience) if leftover.dead]
        if self.repair and folder.exists:
            folder.mark()
            self._count_sweep(storage.sweep(patience=self.patience))
        if unmarked:
            remedy = "made anew" if self.repair else ""
            self._note(FaultKind.MARKER, folder.path, "the file that says it is a store is missing", remedy=remedy)
        for name in group:
            remedy = "finished" if self.repair else ""
            self._note(FaultKind.GROUP, name, "it is committed, and not yet moved to its place", remedy=remedy)
        for path, size, _ in leftovers:
            remedy = "" if os.path.lexists(path) else "removed"
            self._note(FaultKind.LEFTOVER, path, "its writer is gone", size, remedy)

    def _count_sweep(self, swept: SweepReport) -> None:
        self.swept = SweepReport(*map(sum, zip(self.swept or SweepReport(), swept)))

    # --- the records

    def check_records(self, where: Where, deep: bool) -> None:
        with self._noting_errors(self.shelf.heads.identity):
            for entry in entries_of(self.shelf, where):
                self._check_entry(entry, deep)

    def _check_entry(self, entry: RecordEntry, deep: bool) -> None:
        kind, detail = _KINDS.get(entry.state), entry.detail
        if kind is None and deep:
            try:
                detail, read = verify(self.shelf, entry)
                self.verified += read
                kind = FaultKind.DAMAGED if detail else None
            except OSError as error:
                kind, detail = FaultKind.UNREADABLE, str(error)
        if kind is None:
            self.records += 1
            self.bytes += entry.size
            return
        remedy = ""
        if self.repair and kind in self.removable:
            removal = remove_one(self.shelf, Victim.of(entry, Because.FAULT))
            remedy = _REMEDIES.get(removal.outcome, "")
            detail = f"{detail}; {removal.detail}" if removal.detail else detail
        self._note(kind, entry.key, detail, entry.size, remedy)

    # --- what is between them

    def check_what_is_between(self) -> None:
        """Look for what is no record at all: things no key can name, and payloads that no head speaks of."""
        for folder, _ in self._folders():
            with self._noting_errors(folder.path):
                for path, kind in folder.strays():
                    self._note(FaultKind.STRAY, path, f"it is {kind}")
        if self.shelf.payloads is not None:
            with self._noting_errors(self.shelf.payloads.identity):
                self._check_orphans(self.shelf.payloads)

    def _check_orphans(self, payloads: Storage) -> None:
        """Look for payloads without a head; a young one may be waiting for a head that is being written."""
        for listed in payloads.scan():
            if self.shelf.now - listed.modified < self.patience or self.shelf.heads.stamp(listed.key) is not None:
                continue
            beginning = payloads.head(listed.key, 64)
            if beginning is None or is_record(beginning):  # another store keeps whole records there
                continue
            remedy = ""
            if self.repair and FaultKind.ORPHAN in self.removable:
                remedy = self._remove_orphan(payloads, listed.key)
            self._note(FaultKind.ORPHAN, listed.key, "no head speaks of it", listed.size, remedy)

    def _remove_orphan(self, payloads: Storage, key: str) -> str:
        with self.shelf.lock(key) as mine:
            if not mine or self.shelf.heads.stamp(key) is not None:
                return ""
            return "removed" if payloads.delete(key) else "gone meanwhile"
