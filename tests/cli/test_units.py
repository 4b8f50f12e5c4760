"""Sizes and spans are read as people write them, and written so that they are read back."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.cli.units import SIZE, SPAN, moment_data, moment_text, size_text, span_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43200), ("7d", 604800), ("2w", 1209600), ("1y", 31536000), ("1d12h", 129600)]
    + [("1.5h", 5400), ("1D 12H", 129600), ("0", 0)],
)
def test_a_span_is_a_number_with_units(text: str, seconds: float) -> None:
    assert SPAN.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-1d", "1.d", "7x", "1e3s", "nan", "inf", "٣d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="span of time"):
        SPAN.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("10KB", 10_000), ("10 kb", 10_000), ("1.5GB", 1_500_000_000), ("256MiB", 256 << 20)]
    + [("1T", 10**12), ("2Ti", 2 << 40), ("7B", 7)],
)
def test_a_size_is_a_number_with_a_unit(text: str, size: int) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "B", "-1", "1.5.5MB", "10 parsecs", "1iB", "1e3", "MB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="size"):
        SIZE.convert(text, None, None)


@given(st.integers(0, 10**15))
def test_a_size_that_is_shown_is_read_as_about_the_same(size: int) -> None:
    shown = size_text(size)
    assert abs(SIZE.convert(shown, None, None) - size) <= 0.006 * size
    assert len(shown) <= 7


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 KB"), (12_345, "12.3 KB"), (999_499, "999 KB"), (999_500, "1.00 MB")]
    + [(5 * 10**15, "5000 TB")],
)
def test_a_size_is_shown_in_three_digits(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.0001, "0 s"), (0.035, "35 ms"), (2.52, "2.5 s"), (75, "75 s"), (180, "3.0 min"), (7200, "2.0 h")]
    + [(86400 * 12, "12 d"), (86400 * 900, "2.5 y"), (-3, "-3.0 s")],
)
def test_a_span_is_shown_in_two_digits_or_so(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_moments_are_for_people_by_their_clock_and_for_programs_in_utc() -> None:
    assert moment_data(0.0) == "1970-01-01T00:00:00+00:00"
    assert len(moment_text(0.0)) == len("1970-01-01 00:00:00")
    assert moment_text(None) == "never"
    assert moment_data(None) is None


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 1e300, -1e300])
def test_a_moment_that_makes_no_sense_is_shown_as_such(moment: float) -> None:
    assert moment_text(moment) == "?"
    assert moment_data(moment) is None


@given(st.floats(allow_nan=False))
def test_any_span_can_be_shown(seconds: float) -> None:
    assert span_text(seconds)
