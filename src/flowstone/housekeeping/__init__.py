"""Keeping a store in order: listing, counting, pruning, checking, and moving records between stores.

Nothing here loads or executes what a record holds; records are read as bytes, and believed after their tags.
"""

from __future__ import annotations

from flowstone.housekeeping.checking import check
from flowstone.housekeeping.entry import RecordEntry, RecordState
from flowstone.housekeeping.exporting import ExportReport, export
from flowstone.housekeeping.faults import CheckReport, Fault, FaultKind
from flowstone.housekeeping.importing import Fate, Import, ImportReport, import_
from flowstone.housekeeping.listing import entries, find
from flowstone.housekeeping.pruning import Order, PrunePlan, PruneReport, carry_out, plan_prune, prune
from flowstone.housekeeping.removal import Because, Outcome, Removal, Victim, remove
from flowstone.housekeeping.selection import EVERYTHING, Selection, Where
from flowstone.housekeeping.summary import Count, StoreStats, stats

__all__ = [
    "EVERYTHING",
    "Because",
    "CheckReport",
    "Count",
    "ExportReport",
    "Fate",
    "Fault",
    "FaultKind",
    "Import",
    "ImportReport",
    "Order",
    "Outcome",
    "PrunePlan",
    "PruneReport",
    "RecordEntry",
    "RecordState",
    "Removal",
    "Selection",
    "StoreStats",
    "Victim",
    "Where",
    "carry_out",
    "check",
    "entries",
    "export",
    "find",
    "import_",
    "plan_prune",
    "prune",
    "remove",
    "stats",
]
