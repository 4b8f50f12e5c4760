"""What can be wrong in a store, and the report of a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from flowstone.filesystems.base import SweepReport


class FaultKind(Enum):
    """What can be wrong; the value is how a person reads it."""

    DAMAGED = "damaged record"
    HALF = "half a record"
    UNREADABLE = "unreadable"
    KEY_FILE = "signing key"
    MARKER = "no marker"
    LEFTOVER = "leftover"
    GROUP = "unfinished group"
    ORPHAN = "payload without head"
    FOREIGN = "foreign record"
    NEWER = "newer record"
    STRAY = "stray file"


SERIOUS: Final = frozenset({FaultKind.DAMAGED, FaultKind.HALF, FaultKind.UNREADABLE, FaultKind.KEY_FILE})
"""What should never be. The rest comes with a killed writer, a shared store or another program, and harms nobody."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: its kind, where it is (a key or a path), how it shows, and how many bytes it has.

    `remedy` says in a word what a repair did about it; it is empty while the fault is there.
    """

    kind: FaultKind
    where: str
    detail: str
    size: int = 0
    remedy: str = ""

    @property
    def serious(self) -> bool:
        return self.kind in SERIOUS


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    `records` and `bytes` are those of the records that are whole and signed with one of our keys; `verified` is how
    many bytes were compared with their heads; `swept` what the storage cleared away by itself in a repair.
    """

    records: int
    bytes: int
    verified: int
    faults: tuple[Fault, ...]
    swept: SweepReport | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing serious is wrong any more."""
        return not any(fault.serious and not fault.remedy for fault in self.faults)

    @property
    def clean(self) -> bool:
        """Whether there is nothing at all to tell of."""
        return not self.faults
