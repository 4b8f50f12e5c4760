"""Taking records over from an archive."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from flowstone.exceptions import ConfigurationError, LockError
from flowstone.filesystems.base import Stamp, WriteMode
from flowstone.housekeeping.archive import Archive, Packed
from flowstone.housekeeping.customs import Inspector, Refused, Sound
from flowstone.housekeeping.entry import RecordEntry, RecordState
from flowstone.housekeeping.shelf import Shelf
from flowstone.housekeeping.verifying import verify
from flowstone.records import Head
from flowstone.signing import SigningKey

if TYPE_CHECKING:
    from flowstone.results import ResultStore


class Fate(Enum):
    """What became of a record of an archive."""

    IMPORTED = "imported"
    KEPT = "a newer one is here"
    SAME = "it is here already"
    IN_USE = "in use"
    REFUSED = "refused"
    HELD_BACK = "held back with the others"


@dataclass(frozen=True, slots=True)
class Import:
    """What became of one record, and why if it was not imported."""

    key: str
    fate: Fate
    detail: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, record by record."""

    imports: tuple[Import, ...]

    def count(self, fate: Fate) -> int:
        return sum(each.fate is fate for each in self.imports)

    @property
    def bytes(self) -> int:
        """How many bytes were imported."""
        return sum(each.size for each in self.imports if each.fate is Fate.IMPORTED)

    @property
    def ok(self) -> bool:
        """Whether every record of the archive, or a newer one, is here now."""
        return all(each.fate in (Fate.IMPORTED, Fate.SAME, Fate.KEPT) for each in self.imports)


def import_(
    store: ResultStore,
    path: str | os.PathLike[str],
    *,
    keys: Iterable[SigningKey] = (),
    trust: bool = False,
    overwrite: bool = False,
    together: bool = False,
    dry_run: bool = False,
    now: float | None = None,
) -> ImportReport:
    """Take the records of the archive at `path` over into the store.

    A record that is signed with a key of the store's keyring keeps its signature. One that is signed with one of
    `keys` is verified by that and signed again with the key that the store writes with. Any other is refused, unless
    you `trust` the archive: then its plain digests must fit, which show damage but not deceit, and it is signed again.
    A record of a trusted archive can execute code when its value is loaded: trust only what you would run.

    What is here stays if it was written later, or cannot be judged (foreign, newer format, not a record), unless
    `overwrite` is set; so does what is in use. Each record is written in one step; with `together` all of them are, or
    none if one is refused or in use.

    Raises StoreError if the archive is not whole, or the store cannot be written. Nothing is deserialised.
    """
    shelf = Shelf(store, now)
    if together and not shelf.heads.atomic_groups:
        raise ConfigurationError(f"{shelf.heads!r} cannot write several records in one step; import without together.")
    desk = _Desk(shelf, Inspector(shelf, keys, trust=trust), overwrite, dry_run)
    with Archive(path) as archive:
        imports = desk.take_together(archive.records) if together else [desk.take(each) for each in archive.records]
        shelf.flush()  # what waits to be written is still a view of the archive
    return ImportReport(tuple(imports))


class _Ready(NamedTuple):
    """A record that may be written, and the stamp of what it then replaces."""

    key: str
    sound: Sound
    stamp: Stamp | None


_WORTHLESS: Final = (RecordState.DAMAGED, RecordState.HALF)


class _Desk:
    """One run of an import."""

    def __init__(self, shelf: Shelf, inspector: Inspector, overwrite: bool, dry_run: bool) -> None:
        self.shelf = shelf
        self.inspector = inspector
        self.overwrite = overwrite
        self.dry_run = dry_run

    def take(self, packed: Packed) -> Import:
        """Take one record over, if it is sound and there is room for it."""
        with ExitStack() as locks:
            found = self._prepare(packed, locks)
            if isinstance(found, Import):
                return found
            if not self.dry_run and not self._write(found):
                return Import(packed.key, Fate.KEPT, "it was written meanwhile")
        return Import(packed.key, Fate.IMPORTED, size=packed.size)

    def take_together(self, records: list[Packed]) -> list[Import]:
        """Take all records over in one step, or none."""
        imports: list[Import] = []
        group: list[_Ready] = []
        with ExitStack() as locks:
            for packed in records:
                found = self._prepare(packed, locks)
                if isinstance(found, Import):
                    imports.append(found)
                else:
                    imports.append(Import(packed.key, Fate.IMPORTED, size=packed.size))
                    group.append(found)
            if not ImportReport(tuple(imports)).ok:
                return [_held_back(each) for each in imports]
            if not self.dry_run:
                self._publish(group)
        return imports

    def _prepare(self, packed: Packed, locks: ExitStack) -> Import | _Ready:
        """Verify a record and take the lock on its key; say what became of it if that is settled already."""
        key = packed.key
        try:
            sound = self.inspector.accept(packed)
            if not locks.enter_context(self.shelf.lock(key)):
                return Import(key, Fate.IN_USE, "somebody holds the lock on its key")
        except Refused as error:
            return Import(key, Fate.REFUSED, str(error))
        except LockError as error:
            return Import(key, Fate.IN_USE, str(error))
        stamp = self.shelf.heads.stamp(key)
        here = None if stamp is None else self.shelf.find(key)
        if here is None:
            return _Ready(key, sound, None)
        fate, detail = self._compare(here, sound)
        return _Ready(key, sound, stamp) if fate is None else Import(key, fate, detail)

    def _compare(self, here: RecordEntry, sound: Sound) -> tuple[Fate | None, str]:
        """Say what keeps a record out that is under its key already, if anything does."""
        if self._is_worthless(here):
            return None, ""
        if here.ours and here.head is not None and _content(here.head) == _content(sound.head):
            return Fate.SAME, ""
        if self.overwrite:
            return None, ""
        if not here.ours:
            return Fate.KEPT, f"what is here cannot be judged: {here.state.value}"
        if here.created > sound.head.created:
            return Fate.KEPT, ""
        return None, ""

    def _is_worthless(self, here: RecordEntry) -> bool:
        """Whether what is here is damaged, be it deep inside; what cannot be read may be whole."""
        if not here.ours:
            return here.state in _WORTHLESS
        try:
            return verify(self.shelf, here).flaw != ""
        except OSError:
            return False

    def _write(self, ready: _Ready) -> bool:
        """Write a record, unless somebody did since there was found to be room."""
        heads, payloads = self.shelf.heads, self.shelf.payloads
        key, sound, stamp = ready
        if stamp is not None and heads.stamp(key) != stamp:
            return False
        mode = WriteMode.CREATE_ONLY if stamp is None else WriteMode.OVERWRITE
        if payloads is None:
            return heads.put(key, sound.parts, mode) is not None
        head, payload = sound.parts
        if stamp is None and heads.stamp(key) is not None:
            return False
        payloads.put(key, [payload])
        return heads.put(key, [head], mode) is not None

    def _publish(self, group: list[_Ready]) -> None:
        heads, payloads = self.shelf.heads, self.shelf.payloads
        if payloads is None:
            heads.publish([(key, sound.parts) for key, sound, _ in group])
            return
        payloads.publish([(key, sound.parts[1:]) for key, sound, _ in group])
        heads.publish([(key, sound.parts[:1]) for key, sound, _ in group])


def _content(head: Head) -> tuple[object, ...]:
    """Return what two records of one key have in common if they are the same, whoever signed them."""
    return head.created, head.expires, head.serializer, head.main_digest, head.buffers_digest


def _held_back(each: Import) -> Import:
    return Import(each.key, Fate.HELD_BACK) if each.fate is Fate.IMPORTED else each
