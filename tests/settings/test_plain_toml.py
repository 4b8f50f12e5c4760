from __future__ import annotations

import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from flowstone.settings.plain_toml import parse_plain

PLAIN = """\
# mine
active = "ci"

[profiles.ci]
FLOWSTONE_TASKS_DEFAULT_RETRIES = "2"
  FLOWSTONE_HISTORY_ENABLED="no"

[profiles.other]
"""

PIECES = st.sampled_from(
    [
        'active = "x"',
        "[profiles.a]",
        "[profiles]",
        "[[profiles.a]]",
        "[profiles.a.b]",
        "[ a . b ]",
        'a.b = "c"',
        'a = "b"',
    ]
    + [
        'a = "b" # why',
        "a = 'b'",
        "a = 1",
        "a = true",
        '"a" = "b"',
        'a = "\\n"',
        'a = """b"""',
        "# c",
        "#\x01",
        "",
        "=",
    ]
    + [
        'a = "b" "c"',
        'a = "é"',
        "[]",
        "[a",
        'a = "',
        "[a.]",
        'profiles = "x"',
        "\t",
        "\x0c",
        'a = "\x7f"',
        'a == "b"',
        '- = "b"',
    ]
)


def test_what_flowstone_writes_is_read_without_a_parser():
    assert parse_plain(PLAIN.encode()) == tomllib.loads(PLAIN)
    assert parse_plain(PLAIN.replace("\n", "\r\n").encode()) == tomllib.loads(PLAIN)


@given(st.lists(PIECES, max_size=6).map("\n".join) | st.text(st.sampled_from('ab.[]="#\n \t\\é\r')))
@example('[a.b]\n[a]\nc = "d"')
@example('[a]\nb = "c"\n[a.b]')
@example("[a.b]\n[a.b]")
def test_it_agrees_with_the_parser_or_declines(text):
    plain = parse_plain(text.encode())
    if plain is not None:
        assert plain == tomllib.loads(text)


def test_bytes_that_are_no_text_are_declined():
    assert parse_plain(b'active = "\xff"') is None
