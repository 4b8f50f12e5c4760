"""`flowstone cache check`: verifies a store and repairs it."""

from __future__ import annotations

from pathlib import Path

import click

from flowstone.cli import cache_views as views
from flowstone.cli.ask import confirm_loss
from flowstone.cli.stores import require_store, with_choice, with_output, with_store
from flowstone.cli.tables import show_json
from flowstone.housekeeping import Where
from flowstone.housekeeping import check as check_store
from flowstone.results import ResultStore
from flowstone.settings import get_current_settings
from flowstone.signing import KEY_FILE


@click.command("check")
@with_choice
@click.option("--repair", is_flag=True, help="Finish what was begun, sweep leftovers, remove what cannot be right.")
@click.option("--heads-only", is_flag=True, help="Do not read payloads.")
@click.option("--foreign", is_flag=True, help="With --repair: remove records signed with a key that is not ours, too.")
@click.option(
    "--orphans", is_flag=True, help="With --repair: remove payloads that no head in --key-storage speaks of, too."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_store
@with_output
def check(
    store: ResultStore,
    where: Where,
    repair: bool,
    heads_only: bool,
    foreign: bool,
    orphans: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Verify every record, and look for what does not belong.

    The exit code is 1 while something serious is wrong: a damaged record, half a record, one that cannot be read, a
    signing key that will not be used.
    """
    require_store(store)
    if (foreign or orphans) and not repair:
        raise click.UsageError("--foreign and --orphans say what --repair may remove.")
    if foreign or orphans:
        confirm_loss("Others may still need what you are about to remove. Go on?", yes=yes)
    settings = get_current_settings()
    report = check_store(
        store,
        where,
        repair=repair,
        deep=not heads_only,
        foreign=foreign,
        orphans=orphans,
        signing_key_file=None if settings.results.signing_key else Path(settings.home, KEY_FILE),
    )
    if as_json:
        show_json(views.check_data(report))
    else:
        views.show_check(report, repaired=repair)
    if not report.ok:
        click.get_current_context().exit(1)
