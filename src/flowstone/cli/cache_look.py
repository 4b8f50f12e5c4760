"""`flowstone cache ls`, `show`, `path` and `stats`: what is in a store."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import click

from flowstone.cli import cache_views as views
from flowstone.cli.stores import (
    complete_key,
    file_of,
    find_record,
    name_of,
    require_store,
    with_choice,
    with_output,
    with_store,
)
from flowstone.cli.tables import for_person, show_json
from flowstone.clock import current_clock
from flowstone.exceptions import StoreError
from flowstone.housekeeping import RecordEntry, RecordState, Selection, Where, entries
from flowstone.housekeeping import stats as count
from flowstone.results import ResultStore

_SORTS: Final[dict[str, Callable[[RecordEntry], tuple[str | float, ...]]]] = {
    "age": lambda entry: (entry.created, entry.key),
    "used": lambda entry: (entry.used, entry.key),
    "size": lambda entry: (entry.size, entry.key),
    "took": lambda entry: (entry.duration, entry.key),
    "task": lambda entry: (entry.task, entry.key),
    "key": lambda entry: (entry.key,),
}
_UPWARDS: Final = ("task", "key")


@click.command()
@with_choice
@click.option("--sort", type=click.Choice(list(_SORTS)), default="age", help="What to sort by; by default by age.")
@click.option("--reverse", is_flag=True, help="Sort the other way round.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="How many to show; 0 for all.")
@with_store
@with_output
def ls(store: ResultStore, where: Where, sort: str, reverse: bool, limit: int | None, as_json: bool) -> None:
    """List records: the newest, largest, slowest or last used first.

    Without --limit a person sees the first 50 and a program all of them.
    """
    require_store(store)
    now = current_clock().now()
    if limit is None and for_person() and not as_json:
        limit = views.MOST_SHOWN
    counted = _Counted(entries(store, where, now=now), where)
    shown = _sorted(counted, sort, reverse, limit)
    if as_json:
        show_json([views.entry_data(entry, now) for entry in shown])
        return
    views.show_entries(shown, now)
    if len(shown) < counted.records:
        click.echo(f"{views.many(counted.records - len(shown), 'record')} more; --limit 0 shows all.", err=True)
    if counted.strays:
        strays = views.many(counted.strays, "file")
        click.echo(f"Not shown: {strays} that never held a record; --state 'no record' lists them.", err=True)


@click.command()
@click.argument("key", shell_complete=complete_key)
@with_store
@with_output
def show(key: str, store: ResultStore, as_json: bool) -> None:
    """Show what a record says of itself, and what its key was made of.

    The beginning of a key will do if no other key begins so.
    """
    require_store(store)
    now = current_clock().now()
    entry = find_record(store, key)
    path = file_of(store, entry.key)
    if as_json:
        show_json(views.record_data(entry, now, path))
    else:
        views.show_record(entry, now, path)


@click.command()
@click.argument("key", required=False, shell_complete=complete_key)
@with_store
def path(key: str | None, store: ResultStore) -> None:
    """Print the file of a record, or the place of the store."""
    if key is None:
        click.echo(name_of(store))
        return
    require_store(store)
    found = file_of(store, find_record(store, key).key)
    if found is None:
        raise StoreError(f"The records of {name_of(store)} are not in files.")
    click.echo(found)


@click.command()
@with_choice
@with_store
@with_output
def stats(store: ResultStore, where: Where, as_json: bool) -> None:
    """Count records, bytes and computing time, by task and age."""
    require_store(store)
    found = count(store, where)
    if as_json:
        show_json(views.stats_data(found))
    else:
        views.show_stats(found, name_of(store))


def _sorted(found: Iterable[RecordEntry], sort: str, reverse: bool, limit: int | None) -> list[RecordEntry]:
    """Return the first `limit` of them, holding no more than those; all if there is no limit."""
    downwards = (sort not in _UPWARDS) != reverse
    if not limit:
        return sorted(found, key=_SORTS[sort], reverse=downwards)
    return (heapq.nlargest if downwards else heapq.nsmallest)(limit, found, key=_SORTS[sort])


class _Counted:
    """Records as they come, counted; files that are no records are counted apart, and come only if asked for."""

    def __init__(self, found: Iterable[RecordEntry], where: Where) -> None:
        self._found = found
        self._all = isinstance(where, Selection) and where.states is not None
        self.records = self.strays = 0

    def __iter__(self) -> Iterator[RecordEntry]:
        for entry in self._found:
            if entry.state is RecordState.STRAY and not self._all:
                self.strays += 1
                continue
            self.records += 1
            yield entry
