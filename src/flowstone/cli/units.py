"""Sizes, spans of time and moments as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import click

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdwy])+|0", re.ASCII)
_BYTES: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES_OF_TWO: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(I?)B?", re.ASCII)


class Span(click.ParamType[float]):
    """A span of time in seconds, written with units: 90s, 15m, 12h, 7d, 2w, 1d12h."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower().replace(" ", "")
        if not _SPAN.fullmatch(text):
            self.fail(f"{value!r} is not a span of time; write it with units, such as 90s, 15m, 12h, 7d or 2w.")
        return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)([a-z])", text))


class Size(click.ParamType[int]):
    """A number of bytes, written with a unit if you like: 500, 10KB, 1.5GB, 256MiB."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _SIZE.fullmatch(str(value).strip().upper())
        if found is None or (found[3] and not found[2]):
            self.fail(f"{value!r} is not a size; write bytes, or a number with a unit, such as 10KB, 1.5GB or 256MiB.")
        return int(float(found[1]) * (_BYTES_OF_TWO if found[3] else _BYTES)[found[2]])


SPAN: Final = Span()
SIZE: Final = Size()


def size_text(size: int) -> str:
    """Return a size in three digits and a unit that `SIZE` reads: "1.25 MB"."""
    if size < 1000:
        return f"{size} B"
    units = "KMGT"
    power = next((power for power in range(1, len(units)) if size < 999.5 * 1000**power), len(units))
    return f"{_three_digits(size / 1000**power)} {units[power - 1]}B"


def span_text(seconds: float) -> str:
    """Return a span of time in about two digits and a unit: "35 ms", "2.5 s", "3 min", "4.2 h", "12 d"."""
    size = abs(seconds)
    if size < 1:
        return f"{seconds * 1000:.0f} ms" if size >= 0.0005 else "0 s"
    for unit, length, below in (("s", 1, 99.5), ("min", 60, 5970), ("h", 3600, 172_800), ("d", 86400, 86400 * 730)):
        if size < below:
            return f"{_two_digits(seconds / length)} {unit}"
    return f"{_two_digits(seconds / _SECONDS['y'])} y"


def moment_text(moment: float | None) -> str:
    """Return a moment, given in seconds since the epoch, by the clock on the wall; "never" for None."""
    if moment is None:
        return "never"
    found = _moment(moment)
    return "?" if found is None else found.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment_data(moment: float | None) -> str | None:
    """Return a moment, given in seconds since the epoch, for programs: ISO 8601 in UTC."""
    found = None if moment is None else _moment(moment)
    return None if found is None else found.isoformat()


def _moment(moment: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
