from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.settings.dotenv import parse_dotenv


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("A=1", [("A", "1")]),
        ("export A=1", [("A", "1")]),
        ("  A = 1  ", [("A", "1")]),
        ("A=1 # why", [("A", "1")]),
        ("A=1#2", [("A", "1#2")]),
        ("A=#", [("A", "")]),
        ("A=", [("A", "")]),
        ("A='1 # 2' # why", [("A", "1 # 2")]),
        ('A="1\\n2\\t\\"\\\\\\$x"', [("A", '1\n2\t"\\$x')]),
        ("A='1\\n2'", [("A", "1\\n2")]),
        ('A="1\n2\n3"\nB=4', [("A", "1\n2\n3"), ("B", "4")]),
        ("A=1\r\nB=2\r\n", [("A", "1"), ("B", "2")]),
        ("# A=1\n\njunk\n=2\nB=3", [("B", "3")]),
        ("A=${B}", [("A", "${B}")]),
        ("A=a=b", [("A", "a=b")]),
        ("A=1\nA=2", [("A", "1"), ("A", "2")]),
    ],
)
def test_a_dotenv_file_is_read_as_other_programs_read_it(text, pairs):
    assert list(parse_dotenv(text)) == pairs


def test_a_quote_that_never_closes_swallows_only_its_own_line():
    assert list(parse_dotenv("A='tis\nB=2")) == [("A", "'tis"), ("B", "2")]


def test_a_line_inside_of_a_quoted_text_is_no_assignment():
    assert list(parse_dotenv('KEY="-----\nA=1\n-----"')) == [("KEY", "-----\nA=1\n-----")]


@given(st.text(st.characters(exclude_characters="'\r")))
def test_what_stands_in_single_quotes_comes_back_as_it_is(text):
    assert list(parse_dotenv(f"A='{text}'\nB=1")) == [("A", text), ("B", "1")]


@given(st.text(st.sampled_from("AB='\"\\ #\n\texport$")))
def test_no_file_makes_it_fail(text):
    for name, value in parse_dotenv(text):
        assert name
        assert isinstance(value, str)
