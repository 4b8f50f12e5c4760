"""`flowstone cache rm` and `prune`: removing records."""

from __future__ import annotations

import click

from flowstone.cli import cache_views as views
from flowstone.cli.ask import confirm_loss
from flowstone.cli.stores import complete_key, name_of, require_store, with_choice, with_output, with_store
from flowstone.cli.tables import show_json
from flowstone.cli.units import SIZE, SPAN, size_text, span_text
from flowstone.clock import current_clock
from flowstone.exceptions import StoreError
from flowstone.housekeeping import (
    EVERYTHING,
    Because,
    PrunePlan,
    RecordEntry,
    Selection,
    Victim,
    Where,
    carry_out,
    entries,
    find,
    plan_prune,
)
from flowstone.results import ResultStore

_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")


@click.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...", shell_complete=complete_key)
@with_choice
@click.option("--all", "everything", is_flag=True, help="Every record of ours in the store.")
@_DRY_RUN
@_YES
@with_store
@with_output
def rm(
    keys: tuple[str, ...],
    store: ResultStore,
    where: Where,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove the records with these keys, or those that fit all options.

    A key removes whatever lies there. Options choose among the records signed with our keys, unless --state asks for
    others. What is in use, or was written anew meanwhile, stays.
    """
    require_store(store)
    if not keys and where == EVERYTHING and not everything:
        raise click.UsageError("Say which: keys, options that choose records, or --all.")
    if keys and (where != EVERYTHING or everything):
        raise click.UsageError("Give keys, or options that choose records; not both.")
    if keys:
        victims = [Victim.of(_existing(store, key), Because.CHOSEN) for key in dict.fromkeys(keys)]
    else:
        victims = [Victim.of(entry, Because.CHOSEN) for entry in entries(store, where) if _is_meant(entry, where)]
    _remove(
        store,
        PrunePlan(tuple(victims), len(victims), sum(victim.size for victim in victims), {}),
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


@click.command()
@click.option("--older-than", type=SPAN, metavar="SPAN", help="Remove what was written so long ago: 12h, 7d, 2w.")
@click.option("--unused-for", type=SPAN, metavar="SPAN", help="Remove what was last used so long ago.")
@click.option("--expired", is_flag=True, help="Remove what has expired.")
@click.option("--max-size", type=SIZE, metavar="SIZE", help="Remove more until the rest fits: 500MB, 10GB.")
@click.option(
    "--by",
    type=click.Choice(["lru", "cost"]),
    default="lru",
    help="What goes first for --max-size: what was not used for longest, or what is quickest to compute for its size.",
)
@click.option("--task", metavar="NAME", help="Only among the records of this task.")
@_DRY_RUN
@_YES
@with_store
@with_output
def prune(
    store: ResultStore,
    older_than: float | None,
    unused_for: float | None,
    expired: bool,
    max_size: int | None,
    by: str,
    task: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make room: remove records by age, use, expiry and size.

    Each rule removes what it fits. Only whole records signed with our keys are counted and removed. What is in use, or
    was written anew meanwhile, stays.
    """
    require_store(store)
    if not expired and all(rule is None for rule in (older_than, unused_for, max_size, task)):
        raise click.UsageError("Say what may go: --older-than, --unused-for, --expired, --max-size or --task.")
    plan = plan_prune(
        store,
        older_than=older_than,
        unused_for=unused_for,
        expired=expired,
        max_bytes=max_size,
        task=task,
        by=by,
    )
    _remove(store, plan, dry_run=dry_run, yes=yes, as_json=as_json)


def _remove(store: ResultStore, plan: PrunePlan, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Ask, remove and tell."""
    if plan.victims and not dry_run:
        seconds = sum(victim.duration for victim in plan.victims)
        confirm_loss(
            f"Remove {views.many(len(plan.victims), 'record')}, {size_text(plan.bytes_to_free)}, "
            f"which took {span_text(seconds)} to compute?",
            yes=yes,
        )
    report = carry_out(store, plan, dry_run=dry_run)
    if as_json:
        show_json(views.prune_data(report))
        return
    if dry_run and plan.victims:
        views.show_victims(report.removals, current_clock().now())
    views.show_removals(report, dry_run=dry_run)


def _existing(store: ResultStore, key: str) -> RecordEntry:
    found = find(store, key)
    if found is None:
        raise StoreError(f"There is no record with the key {key!r} in {name_of(store)}.")
    return found


def _is_meant(entry: RecordEntry, where: Where) -> bool:
    """Whether options that choose mean this record: what is not ours only if a state was asked for."""
    return entry.ours or (isinstance(where, Selection) and where.states is not None)
