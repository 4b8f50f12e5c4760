"""`flowstone demo`: a pipeline on real data, run, run again, and run after edits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from flowstone.demo.story import CHAPTERS, DemoFailed, Outcome, Stage, Started, missing_packages
from flowstone.progress import TaskEnd


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Play in DIR, a new or empty folder, and leave the script and the cache there with the report.",
)
@click.option("--fast", is_flag=True, help="Use three days of each month instead of all.")
def demo(keep: Path | None, fast: bool) -> None:
    """Run a pipeline on a year of real flights, run it again from the cache, and run it after edits.

    Everything happens in a folder with a home of its own; yours is not touched.
    """
    if missing := missing_packages():
        raise click.ClickException(f'The demo needs {", ".join(missing)}: pip install "flowstone[demo]"')
    if keep and keep.exists() and any(keep.iterdir()):
        raise click.ClickException(f"{keep} is not empty; name a folder that is new or empty.")
    console = Console()
    stage = Stage(keep or Path(tempfile.mkdtemp(prefix="flowstone-demo-")), fast=fast)
    try:
        with _tidied(stage, keep is not None):
            outcomes = _play_all(stage, console)
    except DemoFailed as failure:
        raise click.ClickException(str(failure)) from failure
    _show_table(outcomes, console)
    _show_places(stage, keep is not None, console)


@contextmanager
def _tidied(stage: Stage, keep: bool) -> Iterator[None]:
    """Remove what nobody asked to keep: all of it when the demo breaks off, and the cache when it ends well."""
    try:
        yield
    except BaseException:
        if not keep:
            shutil.rmtree(stage.folder, ignore_errors=True)
        raise
    if not keep:
        shutil.rmtree(stage.home, ignore_errors=True)


def _play_all(stage: Stage, console: Console) -> list[Outcome]:
    stage.set_up()
    outcomes = []
    for number, chapter in enumerate(CHAPTERS, 1):
        _say(console, (f"Run {number}: {chapter.title}", "bold"))
        if chapter.edit:
            _say(console, (f"  - {chapter.edit.old}", "red"))
            _say(console, (f"  + {chapter.edit.new}", "green"))
        with console.status("starting") as status:  # shown on a terminal only
            outcome = stage.play(chapter, partial(_tell, console, status))
        _say(console, (f"  {outcome.tally}, took {outcome.seconds:.1f} s\n", "bold"))
        outcomes.append(outcome)
    return outcomes


def _tell(console: Console, status: Status, event: Started | TaskEnd) -> None:
    if isinstance(event, Started):
        status.update(event.name)
    else:
        status.update("working")
        _say(console, (f"  {event}", "green" if event.cached else "yellow"))


def _say(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print one line as it is: no markup, no wrapping, no colours of rich's own choice."""
    console.print(Text.assemble(*parts), soft_wrap=True, highlight=False)


def _show_table(outcomes: Sequence[Outcome], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    table.add_column("run")
    for name in ("tasks run", "cached", "wall seconds", "seconds saved"):
        table.add_column(name, justify="right")
    for number, outcome in enumerate(outcomes, 1):
        table.add_row(
            f"{number} {outcome.chapter.title}",
            str(outcome.tally.ran),
            str(outcome.tally.cached),
            f"{outcome.seconds:.1f}",
            f"{outcome.tally.seconds_saved:.1f}",
        )
    console.print(table)


def _show_places(stage: Stage, kept: bool, console: Console) -> None:
    _say(console, f"\nThe report: {stage.report / 'report.html'}")
    if kept:
        _say(console, f"Edit {stage.script}, then run it once more:")
        _say(console, f"  FLOWSTONE_HOME={stage.home} python {stage.script} --folder {stage.report}")
    else:
        _say(console, "With --keep DIR the script and the cache stay as well, for edits of your own.")
