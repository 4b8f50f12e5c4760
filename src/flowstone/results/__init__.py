"""Results and the stores they live in."""

from __future__ import annotations

from flowstone.context import current_scope
from flowstone.records import MissReason, RecordInfo
from flowstone.results.found import Hit, Miss, StagedRecord
from flowstone.results.public import ResultRecord, ResultRecordMetadata
from flowstone.results.store import ResultStore
from flowstone.settings import Settings, get_current_settings

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

_stores: dict[tuple[object, ...], ResultStore] = {}


def default_store(settings: Settings | None = None) -> ResultStore:
    """Return the store that the settings describe; the same one for as long as they describe the same."""
    now = settings or get_current_settings()
    results = now.results
    wanted = (
        results.default_storage or results.local_storage_path,
        results.default_serializer,
        results.durability,
        results.verify,
        results.safe_serializers_only,
        results.memory_bytes,
        results.signing_key,
        now.home,
    )
    store = _stores.get(wanted)
    if store is None:
        store = _stores.setdefault(wanted, ResultStore(settings=now))
    return store


def get_result_store() -> ResultStore:
    """Return the store that prevails here: that of the task or flow that is running, else the default."""
    scope = current_scope()
    for context in (scope.task, scope.flow):
        if context is not None and context.result_store is not None:
            return context.result_store
    return default_store()
