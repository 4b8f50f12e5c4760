"""Stores that end with the test, and blocks that look past what is recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flowstone.results import ResultStore, default_store
from flowstone.settings import temporary_settings

if TYPE_CHECKING:
    from pathlib import Path

    from flowstone.settings import Setting, Settings


@contextmanager
def temporary_store(folder: Path | str | None = None) -> Iterator[ResultStore]:
    """Have everything recorded in a store of its own while the block lasts; gives that store.

    It is a folder that is removed at the end, or the `folder` given, which stays. Records are signed with a key that
    nobody else has. Tasks with a `result_storage` of their own keep it. Holds for this thread or task and for what is
    submitted from it.
    """
    if folder is not None:
        with _store_in(os.fspath(folder)) as store:
            yield store
        return
    with TemporaryDirectory(prefix="flowstone-test-", ignore_cleanup_errors=True) as made, _store_in(made) as store:
        yield store


@contextmanager
def _store_in(folder: str) -> Iterator[ResultStore]:
    overrides: dict[str | Setting, object] = {
        "FLOWSTONE_RESULTS_LOCAL_STORAGE_PATH": folder,
        "FLOWSTONE_RESULTS_DEFAULT_STORAGE": None,
        "FLOWSTONE_RESULTS_SIGNING_KEY": os.urandom(32).hex(),
    }
    with temporary_settings(overrides) as settings:
        yield default_store(settings)


def caching_disabled() -> AbstractContextManager[Settings]:
    """Have every call run and none be recorded, while the block lasts."""
    return temporary_settings({"FLOWSTONE_TASKS_DISABLE_CACHING": True})


def force_rerun() -> AbstractContextManager[Settings]:
    """Have every call run and its record be overwritten, while the block lasts; but for `refresh_cache=False`."""
    return temporary_settings({"FLOWSTONE_TASKS_REFRESH_CACHE": True})
