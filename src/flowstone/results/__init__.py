"""Results and the stores they live in."""

from __future__ import annotations

from flowstone.records import MissReason, RecordInfo
from flowstone.results.found import Hit, Miss, StagedRecord
from flowstone.results.public import ResultRecord, ResultRecordMetadata
from flowstone.results.store import ResultStore

__all__ = [
    "Hit",
    "Miss",
    "MissReason",
    "RecordInfo",
    "ResultRecord",
    "ResultRecordMetadata",
    "ResultStore",
    "StagedRecord",
    "default_store",
    "get_result_store",
]

_default: ResultStore | None = None


def default_store(settings: object = None) -> ResultStore:
    """Return the store that the settings describe."""
    global _default
    if _default is None:
        _default = ResultStore()
    return _default


def get_result_store() -> ResultStore:
    """Return the store that prevails here."""
    return default_store()
