"""`flowstone cache export` and `import`: records as one file."""

from __future__ import annotations

from pathlib import Path

import click

from flowstone.cli import cache_views as views
from flowstone.cli.stores import require_store, with_choice, with_output, with_store
from flowstone.cli.tables import show_json
from flowstone.cli.units import size_text
from flowstone.exceptions import ConfigurationError
from flowstone.housekeeping import Where
from flowstone.housekeeping import export as export_records
from flowstone.housekeeping import import_ as import_records
from flowstone.results import ResultStore
from flowstone.signing import SECRET_SIZE, SigningKey


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_choice
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@with_store
@with_output
def export(file: Path, store: ResultStore, where: Where, overwrite: bool, as_json: bool) -> None:
    """Write records into one archive, a tar file, signatures and all."""
    require_store(store)
    report = export_records(store, where, file, overwrite=overwrite)
    if as_json:
        show_json(views.export_data(report))
        return
    click.echo(f"Exported {views.many(report.records, 'record')}, {size_text(report.bytes)}, to {report.path}.")
    for key, why in report.left_out:
        click.echo(f"{views.short_key(key)} left out: {why}", err=True)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file with the key of the archive: another home's signing.key, or the text of a shared one.",
)
@click.option("--trust", is_flag=True, help="Take records of unknown keys, too. Loading them can run code.")
@click.option("--overwrite", is_flag=True, help="Replace records that are newer, or that cannot be judged.")
@click.option("--together", is_flag=True, help="All records in one step, or none.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and write nothing.")
@with_store
@with_output
def import_(
    file: Path,
    store: ResultStore,
    key_files: tuple[Path, ...],
    trust: bool,
    overwrite: bool,
    together: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over the records of an archive.

    The exit code is 1 if a record was refused, or could not be written because it is in use.
    """
    report = import_records(
        store,
        file,
        keys=[_read_key(each) for each in key_files],
        trust=trust,
        overwrite=overwrite,
        together=together,
        dry_run=dry_run,
    )
    if as_json:
        show_json(views.import_data(report))
    else:
        views.show_import(report, dry_run=dry_run)
    if not report.ok:
        click.get_current_context().exit(1)


def _read_key(path: Path) -> SigningKey:
    """Return the key in a file: what a home's signing.key holds, or else the text of a key that is shared."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not text:
        raise ConfigurationError(f"{path} holds no key.")
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    return SigningKey(secret) if len(secret) == SECRET_SIZE else SigningKey.from_text(text)
