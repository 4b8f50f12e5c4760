"""Options that say which store a command works with, and which of its records."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from flowstone.cli.units import SIZE, SPAN
from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem
from flowstone.housekeeping import RecordEntry, RecordState, Selection, find
from flowstone.housekeeping.folder import Folder
from flowstone.results import ResultStore
from flowstone.settings import get_current_settings

P = ParamSpec("P")
R = TypeVar("R")
Command = Callable[..., R]

_OPTIONS_OF_STORE = (
    click.option("--store", "place", metavar="PATH_OR_URL", help="The store to work with, instead of that in force."),
    click.option(
        "--key-storage",
        "heads",
        metavar="PATH_OR_URL",
        help="Where a policy's key_storage keeps the heads of the records.",
    ),
)

_OPTIONS_OF_CHOICE = (
    click.option("--task", metavar="NAME", help="Records of this task: its name, module.name, or a pattern."),
    click.option("--prefix", metavar="TEXT", default="", help="Records whose keys begin with this."),
    click.option("--glob", metavar="PATTERN", help="Records whose keys fit this pattern."),
    click.option("--older-than", type=SPAN, metavar="SPAN", help="Written so long ago or longer: 12h, 7d, 2w."),
    click.option("--newer-than", type=SPAN, metavar="SPAN", help="Written so long ago or later."),
    click.option("--unused-for", type=SPAN, metavar="SPAN", help="Last used so long ago or longer."),
    click.option("--larger-than", type=SIZE, metavar="SIZE", help="So large or larger: 500KB, 10MB, 1.5GB."),
    click.option("--smaller-than", type=SIZE, metavar="SIZE", help="So large or smaller."),
    click.option("--run", metavar="ID", help="Written by this run of a task or flow."),
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([state.value for state in RecordState]),
        help="In this state; may be given several times.",
    ),
    click.option("--expired", is_flag=True, help="The same as --state expired."),
)


def with_store(command: Command[R]) -> Command[R]:
    """Give a command the options that name a store, and the store as `store`."""

    @wraps(command)
    def wrapped(*args: object, place: str | None, heads: str | None, **options: object) -> R:
        return command(*args, store=open_store(place, heads), **options)

    return _with_options(wrapped, _OPTIONS_OF_STORE)


def with_choice(command: Command[R]) -> Command[R]:
    """Give a command the options that choose records, and the choice as `where`."""

    @wraps(command)
    def wrapped(
        *args: object,
        task: str | None,
        prefix: str,
        glob: str | None,
        older_than: float | None,
        newer_than: float | None,
        unused_for: float | None,
        larger_than: int | None,
        smaller_than: int | None,
        run: str | None,
        states: tuple[str, ...],
        expired: bool,
        **options: object,
    ) -> R:
        wanted = {RecordState(state) for state in states} | ({RecordState.EXPIRED} if expired else set())
        where = Selection(
            task=task,
            prefix=prefix,
            glob=glob,
            older_than=older_than,
            newer_than=newer_than,
            unused_for=unused_for,
            larger_than=larger_than,
            smaller_than=smaller_than,
            run=run,
            states=wanted or None,
        )
        return command(*args, where=where, **options)

    return _with_options(wrapped, _OPTIONS_OF_CHOICE)


def with_output(command: Command[R]) -> Command[R]:
    """Give a command `--json` and `-o json`, and what they say as `as_json`."""

    @wraps(command)
    def wrapped(*args: object, output: str, as_json: bool, **options: object) -> R:
        return command(*args, as_json=as_json or output == "json", **options)

    options = (
        click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it."),
        click.option("--json", "as_json", is_flag=True, help="The same as -o json."),
    )
    return _with_options(wrapped, options)


def _with_options(command: Command[R], options: tuple[Callable[[Command[R]], Command[R]], ...]) -> Command[R]:
    for option in reversed(options):
        command = option(command)
    return command


def open_store(place: str | None = None, heads: str | None = None) -> ResultStore:
    """Return the store at a path or URL, or the one in force."""
    return ResultStore(place, heads, cache_result_in_memory=False, settings=get_current_settings())


def require_store(store: ResultStore) -> None:
    """Raise StoreError if there is no store where one was said to be: a path that was mistyped is not empty."""
    usual = get_current_settings().results.local_storage_path
    for storage in (store.result_storage, store.metadata_storage):
        if isinstance(storage, LocalFileSystem) and storage.basepath != usual and not Folder(storage).is_store:
            raise StoreError(f"There is no store in {storage.basepath}.")


def name_of(store: ResultStore) -> str:
    """Return the place of the records: a path, or a URL."""
    storage = store.metadata_storage or store.result_storage
    return storage.basepath if isinstance(storage, LocalFileSystem) else storage.identity


def file_of(store: ResultStore, key: str) -> str | None:
    """Return the path of the file under `key`, or None if the store is not one of files."""
    storage = store.metadata_storage or store.result_storage
    return Folder(storage).file_of(key) if isinstance(storage, LocalFileSystem) else None


def find_record(store: ResultStore, text: str) -> RecordEntry:
    """Return the record with this key, or the only one whose key begins so; raises StoreError if there is none."""
    found = find(store, text)
    if found is not None:
        return found
    heads = store.metadata_storage or store.result_storage
    keys = [entry.key for entry, _ in zip(heads.scan(text), range(3))]
    if len(keys) > 1:
        raise StoreError(f"More than one key begins with {text!r}: {', '.join(sorted(keys))} ...")
    found = find(store, keys[0]) if keys else None
    if found is None:
        raise StoreError(f"There is no record with the key {text!r} in {name_of(store)}.")
    return found


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return some keys that start like this."""
    store = open_store(ctx.params.get("place"), ctx.params.get("heads"))
    heads = store.metadata_storage or store.result_storage
    return [entry.key for entry, _ in zip(heads.scan(incomplete), range(50))]
