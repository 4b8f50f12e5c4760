"""How records, and what was done to them, look: as data for programs, as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import click

from flowstone.cli.tables import Column, for_person, show_facts, show_table
from flowstone.cli.units import moment_data, moment_text, size_text, span_text
from flowstone.housekeeping import (
    CheckReport,
    Count,
    ExportReport,
    Fate,
    ImportReport,
    Outcome,
    PruneReport,
    RecordEntry,
    RecordState,
    Removal,
    StoreStats,
)
from flowstone.housekeeping.summary import AGES

MOST_SHOWN: Final = 50
"""How many rows a person is shown who did not ask for a number."""

_SHORT: Final = 16  # characters of a key, enough to call it by
_AGES: Final = ("under 1 h", "under 1 d", "under 7 d", "under 30 d", "under 90 d", "under 1 y", "1 y and more")
_HEX: Final = frozenset("0123456789abcdef")


# --- records


def entry_data(entry: RecordEntry, now: float) -> dict[str, object]:
    """Return what a listing says of a record, for programs."""
    return {
        "key": entry.key,
        "state": entry.state.value,
        "detail": entry.detail,
        "size": entry.size,
        "task": entry.task,
        "created": moment_data(entry.created),
        "expires": moment_data(entry.expires),
        "used": moment_data(entry.used),
        "age_seconds": round(now - entry.created, 3),
        "duration_seconds": entry.duration,
        "policy": entry.policy,
        "serializer": entry.serializer,
        "task_run_id": entry.task_run_id,
        "flow_run_id": entry.flow_run_id,
    }


def record_data(entry: RecordEntry, now: float, path: str | None) -> dict[str, object]:
    """Return everything a record says of itself, for programs."""
    data = entry_data(entry, now) | {"path": path}
    info = entry.info
    if info is None:
        return data
    more = ("serializer_version", "payload_size", "payload_digest", "value_token", "items", "host", "python")
    data |= {name: getattr(info, name) for name in more}
    return data | {
        "flowstone": info.flowstone,
        "state_name": info.state_name,
        "parts": dict(info.parts),
        "signed_by": None if entry.head is None else _signer(entry),
    }


def show_entries(entries: Sequence[RecordEntry], now: float) -> None:
    """Print a table of records."""
    columns = (
        Column("key", whole=True, style="cyan"),
        Column("state"),
        Column("size", right=True),
        Column("age", right=True),
        Column("used", right=True),
        Column("expires", right=True),
        Column("took", right=True),
        Column("task"),
    )
    show_table(
        columns,
        [
            (
                short_key(entry.key) if for_person() else entry.key,
                entry.state.value,
                size_text(entry.size),
                span_text(now - entry.created),
                span_text(now - entry.used),
                _expiry(entry, now),
                span_text(entry.duration) if entry.duration else "",
                entry.task,
            )
            for entry in entries
        ],
    )


def short_key(key: str) -> str:
    """Return enough of a digest to call it by; other keys as they are."""
    return key[:_SHORT] if len(key) >= 2 * _SHORT and _HEX.issuperset(key) else key


def _expiry(entry: RecordEntry, now: float) -> str:
    if entry.head is None:
        return ""
    if entry.expires is None:
        return "never"
    return f"in {span_text(entry.expires - now)}" if entry.expires > now else f"{span_text(now - entry.expires)} ago"


def show_record(entry: RecordEntry, now: float, path: str | None) -> None:
    """Print everything a record says of itself."""
    facts = [("key", entry.key), ("state", entry.state.value + (f": {entry.detail}" if entry.detail else ""))]
    if path is not None:
        facts.append(("file", path))
    facts.append(("size", f"{size_text(entry.size)} ({entry.size} bytes)"))
    if entry.head is not None:
        expiry = "never" if entry.expires is None else f"{moment_text(entry.expires)} ({_expiry(entry, now)})"
        facts += [
            ("task", entry.task or "(written by hand)"),
            ("written", f"{moment_text(entry.created)} ({span_text(now - entry.created)} ago)"),
            ("expires", expiry),
        ]
    facts.append(("last used", f"{moment_text(entry.used)} ({span_text(now - entry.used)} ago)"))
    show_facts([*facts, *_more_facts(entry)])
    if entry.info is not None and entry.info.parts:
        click.echo("\nIts key was made of:")
        show_table((Column("part", whole=True), Column("digest", whole=True)), entry.info.parts)


def _more_facts(entry: RecordEntry) -> Iterable[tuple[str, str]]:
    info = entry.info
    if info is None:
        return
    yield "took", span_text(info.duration)
    yield "serializer", f"{info.serializer} (version {info.serializer_version})"
    yield "policy", info.policy or "none"
    if info.task_run_id:
        yield "task run", info.task_run_id
    if info.flow_run_id:
        yield "flow run", info.flow_run_id
    if info.items is not None:
        yield "items", str(info.items)
    yield "written by", f"flowstone {info.flowstone}, Python {info.python}, on {info.host}"
    yield "payload digest", info.payload_digest
    yield "signed by", _signer(entry)


def _signer(entry: RecordEntry) -> str:
    return "" if entry.signer is None else entry.signer.hex()


# --- removing


def removal_data(removal: Removal) -> dict[str, object]:
    victim = removal.victim
    return {
        "key": victim.key,
        "size": victim.size,
        "task": victim.task,
        "because": victim.because.value,
        "outcome": removal.outcome.value,
        "detail": removal.detail,
    }


def prune_data(report: PruneReport) -> dict[str, object]:
    return {
        "records": report.records,
        "bytes": report.bytes,
        "removed": report.removed,
        "freed": report.freed,
        "seconds_lost": report.seconds_lost,
        "over_budget": report.over_budget,
        "others": {state.value: count for state, count in report.others.items()},
        "removals": [removal_data(removal) for removal in report.removals],
    }


def show_victims(removals: Sequence[Removal], now: float) -> None:
    """Print what would be removed; a person sees the first of many."""
    columns = (
        Column("key", whole=True, style="cyan"),
        Column("size", right=True),
        Column("age", right=True),
        Column("used", right=True),
        Column("took", right=True),
        Column("because"),
        Column("task"),
    )
    shown = removals[:MOST_SHOWN] if for_person() else removals
    rows = [
        (
            short_key(victim.key) if for_person() else victim.key,
            size_text(victim.size),
            span_text(now - victim.created),
            span_text(now - victim.used),
            span_text(victim.duration) if victim.duration else "",
            victim.because.value,
            victim.task,
        )
        for victim, _, _ in shown
    ]
    show_table(columns, rows)
    if len(shown) < len(removals):
        click.echo(f"... and {len(removals) - len(shown)} more")


def show_removals(report: PruneReport, *, dry_run: bool) -> None:
    """Print in a line what was removed, and what was not and why."""
    verb = "Would remove" if dry_run else "Removed"
    click.echo(f"{verb} {many(report.removed, 'record')}, {size_text(report.freed)}.")
    for victim, outcome, detail in report.stayed:
        if outcome is not Outcome.GONE:
            why = f"{outcome.value}: {detail}" if detail else outcome.value
            click.echo(f"{short_key(victim.key)} stayed: {why}", err=True)
    if report.over_budget:
        click.echo(f"The rest is still {size_text(report.over_budget)} too large.", err=True)


def many(count: int, noun: str) -> str:
    """Return a count with its noun: "1 record", "1,200 records"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


# --- counting


def count_data(count: Count) -> dict[str, object]:
    return {"records": count.records, "bytes": count.bytes, "seconds": round(count.seconds, 6)}


def stats_data(stats: StoreStats) -> dict[str, object]:
    ends = [*AGES, None]
    return {
        "total": count_data(stats.total),
        "by_state": {state.value: count_data(count) for state, count in stats.by_state.items()},
        "by_task": {task: count_data(count) for task, count in stats.by_task.items()},
        "by_age": [{"younger_than_seconds": end} | count_data(count) for end, count in zip(ends, stats.by_age)],
        "oldest": moment_data(stats.oldest),
        "newest": moment_data(stats.newest),
        "last_used": moment_data(stats.last_used),
    }


def show_stats(stats: StoreStats, place: str) -> None:
    total = stats.total
    states = sorted(stats.by_state.items(), key=lambda item: list(RecordState).index(item[0]))
    facts = [
        ("store", place),
        ("records", ", ".join(f"{count.records:,} {state.value}" for state, count in states) or "none"),
        ("size", size_text(total.bytes)),
        ("time it holds", f"{span_text(total.seconds)} of computing"),
    ]
    if stats.oldest is not None:
        facts += [("written", f"from {moment_text(stats.oldest)} to {moment_text(stats.newest)}")]
        facts += [("last used", moment_text(stats.last_used))]
    show_facts(facts)
    if not total.records:
        return
    numbers = (Column("records", right=True), Column("size", right=True), Column("took", right=True))
    click.echo()
    show_table(
        (Column("task", style="cyan"), *numbers),
        [(task or "(by hand)", *_counted(count)) for task, count in stats.by_task.items()],
    )
    click.echo()
    rows = [(name, *_counted(count)) for name, count in zip(_AGES, stats.by_age) if count.records]
    show_table((Column("age", style="cyan"), *numbers), rows)


def _counted(count: Count) -> tuple[str, str, str]:
    return f"{count.records:,}", size_text(count.bytes), span_text(count.seconds)


# --- checking


def check_data(report: CheckReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "records": report.records,
        "bytes": report.bytes,
        "verified_bytes": report.verified,
        "faults": [
            {
                "kind": fault.kind.value,
                "where": fault.where,
                "detail": fault.detail,
                "size": fault.size,
                "serious": fault.serious,
                "remedy": fault.remedy,
            }
            for fault in report.faults
        ],
    }


def show_check(report: CheckReport, *, repaired: bool) -> None:
    if report.faults:
        columns = (Column("what", style="bold"), Column("where", whole=True, style="cyan"), Column("how"))
        remedy = (Column("remedy"),) if repaired else ()
        show_table(
            (*columns, *remedy),
            [
                (fault.kind.value, short_key(fault.where) if for_person() else fault.where, fault.detail)
                + ((fault.remedy or "none",) if repaired else ())
                for fault in report.faults
            ],
        )
    serious = sum(fault.serious and not fault.remedy for fault in report.faults)
    click.echo(
        f"{many(report.records, 'record')} whole ({size_text(report.bytes)}, {size_text(report.verified)} verified); "
        f"{many(serious, 'serious fault')}, {many(len(report.faults) - serious, 'other finding')}."
    )


# --- moving


def export_data(report: ExportReport) -> dict[str, object]:
    left_out = [{"key": key, "detail": why} for key, why in report.left_out]
    return {"path": report.path, "records": report.records, "bytes": report.bytes, "left_out": left_out}


def import_data(report: ImportReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "bytes": report.bytes,
        "records": [
            {"key": each.key, "fate": each.fate.value, "detail": each.detail, "size": each.size}
            for each in report.imports
        ],
    }


def show_import(report: ImportReport, *, dry_run: bool) -> None:
    verb = "Would import" if dry_run else "Imported"
    click.echo(f"{verb} {many(report.count(Fate.IMPORTED), 'record')}, {size_text(report.bytes)}.")
    for fate in (Fate.SAME, Fate.KEPT):
        if report.count(fate):
            click.echo(f"{many(report.count(fate), 'record')} not needed: {fate.value}.")
    for each in report.imports:
        if each.fate not in (Fate.IMPORTED, Fate.SAME, Fate.KEPT):
            detail = f": {each.detail}" if each.detail else ""
            click.echo(f"{short_key(each.key)} {each.fate.value}{detail}", err=True)
