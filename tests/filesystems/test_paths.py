"""From keys to file names and back, on file systems that ignore case."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.exceptions import KeyPathError, StoreError
from flowstone.filesystems.base import check_key
from flowstone.filesystems.paths import CASELESS, EXACT, decode, encode


def is_key(text: str) -> bool:
    try:
        check_key(text)
    except KeyPathError:
        return False
    return True


KEYS = st.text(min_size=1, max_size=20).filter(is_key) | st.text("aAbB%4/é\u0301e .", min_size=1).filter(is_key)


def name_of(key: str, names: str) -> str | None:
    try:
        return encode(key, names)
    except StoreError:
        return None


@given(KEYS)
def test_a_name_gives_its_key_back(key: str) -> None:
    for names in (EXACT, CASELESS):
        if (name := name_of(key, names)) is not None:
            assert decode(name, names) == key


@given(KEYS, KEYS)
def test_names_of_two_keys_differ_by_more_than_case_or_form(one: str, other: str) -> None:
    names = [name_of(one, CASELESS), name_of(other, CASELESS)]
    if one != other and None not in names:
        assert len({unicodedata.normalize("NFC", name).casefold() for name in names if name}) == 2


@given(KEYS)
def test_a_name_of_a_key_stays_inside_and_keeps_its_folders(key: str) -> None:
    name = name_of(key, CASELESS)
    if name is not None:
        assert name.isascii()
        assert name.count("/") == key.count("/")
        assert not {"", ".", ".."} & set(name.split("/"))


@given(KEYS, KEYS)
def test_a_prefix_of_a_key_is_a_prefix_of_its_name(key: str, more: str) -> None:
    prefix, whole = name_of(key, CASELESS), name_of(key + more, CASELESS)
    if prefix is not None and whole is not None:
        assert whole.startswith(prefix)


def test_exact_names_are_the_keys_themselves() -> None:
    assert encode("Any Key/é%41", EXACT) == "Any Key/é%41"
    assert decode("Any%41", EXACT) == "Any%41"


def test_a_digest_keeps_its_name_everywhere() -> None:
    assert encode("0123456789abcdef", CASELESS) == "0123456789abcdef"


def test_a_name_too_long_says_so() -> None:
    with pytest.raises(StoreError, match="too long"):
        encode("É" * 100, CASELESS)
