"""Laws of tokens over values that hypothesis builds: equal copies, any single change, sharing, pickling."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import math
import pickle
import struct
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from flowstone.hashing import token
from flowstone.hashing.graph import graph_token
from flowstone.hashing.unfold import Scratch


@dataclass
class Data:
    a: object
    b: object = None


@dataclass(frozen=True, slots=True)
class Frozen:
    a: object
    b: object = None


class Plain:
    def __init__(self, a: object) -> None:
        self.a = a

    def __eq__(self, other: object) -> bool:
        return type(other) is Plain and self.a == other.a

    __hash__ = None  # type: ignore[assignment]


Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


integers = st.integers(-3, 3) | st.integers()
floats = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf])
texts = st.text(max_size=4) | st.sampled_from(["", "a", "b"])
zones = st.none() | st.just(datetime.UTC) | st.just(datetime.timezone(datetime.timedelta(hours=1), "X"))
simple = st.one_of(
    *(
        st.none(),
        st.booleans(),
        integers,
        floats,
        texts,
        st.binary(max_size=4),
        st.complex_numbers(),
        st.decimals(allow_nan=False),
    ),
    *(
        st.fractions(max_denominator=9),
        st.dates(),
        st.datetimes(timezones=zones),
        st.times(),
        st.timedeltas(),
        st.uuids(),
    ),
    *(st.sampled_from(Colour), st.just(...), st.builds(range, st.integers(0, 3), st.integers(0, 3))),
    st.builds(PurePosixPath, st.sampled_from(["a", "a/b", "/"])),
)
hashable = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.tuples(inner, inner),
        st.frozensets(inner, max_size=3),
        st.builds(Frozen, inner, inner),
        st.builds(Point, inner, inner),
    ),
    max_leaves=4,
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, max_size=4)
    dicts = st.one_of(*(st.dictionaries(kind, inner, max_size=4) for kind in (texts, integers, hashable)))
    many = st.tuples(st.lists(inner, min_size=1, max_size=2), st.sampled_from([16, 40])).map(
        lambda told: told[0] * told[1]
    )
    return st.one_of(
        *(some, some.map(tuple), dicts, many, st.sets(hashable, max_size=4), st.frozensets(hashable, max_size=4)),
        *(some.map(deque), dicts.map(OrderedDict), dicts.map(lambda items: defaultdict(list, items))),
        *(
            st.builds(Data, inner, inner),
            st.builds(Plain, inner),
            st.builds(Point, inner, inner),
            st.builds(bytearray, st.binary(max_size=3)),
        ),
        st.dictionaries(texts, integers, max_size=3).map(Counter),
    )


values = st.recursive(simple, containers, max_leaves=12)


@given(values)
def test_a_deep_copy_has_the_same_token(value: object) -> None:
    assert token(copy.deepcopy(value)) == token(value)


@given(values)
def test_a_pickling_round_trip_keeps_the_token(value: object) -> None:
    assert token(pickle.loads(pickle.dumps(value))) == token(value)


@given(values)
def test_making_a_token_changes_nothing_and_gives_the_same_again(value: object) -> None:
    before = describe(value)

    assert token(value) == token(value)
    assert describe(value) == before


@given(values)
def test_a_token_is_short(value: object) -> None:
    assert 2 <= len(token(value)) <= 64


@given(values, values)
def test_two_values_have_one_token_if_and_only_if_they_are_alike_in_all_parts(one: object, other: object) -> None:
    assert (token(one) == token(other)) is (describe(one) == describe(other))


small = st.recursive(
    st.sampled_from([None, True, 1, 1.0, "1", b"1", 0, False, "", b"", -0.0, 0.0]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(["a", "b", 1, True, None]), inner, max_size=2),
    ),
    max_leaves=4,
)


@given(small, small)
def test_the_smallest_values_are_never_confused(one: object, other: object) -> None:
    assert (token(one) == token(other)) is (describe(one) == describe(other))


@given(st.lists(small, min_size=2, max_size=3), st.sampled_from([15, 16, 17, 255, 257]), st.data())
def test_one_changed_element_of_a_long_list_changes_the_token(
    parts: list[Any], length: int, data: st.DataObject
) -> None:
    sequence = (parts * length)[:length]
    place = data.draw(st.integers(0, length - 1))
    other = data.draw(small)
    assume(describe(other) != describe(sequence[place]))

    assert token(sequence) != token([*sequence[:place], other, *sequence[place + 1 :]])


@given(values, st.data())
def test_any_single_change_changes_the_token(value: object, data: st.DataObject) -> None:
    changed = change(value, data.draw)

    assert describe(changed) != describe(value)
    assert token(changed) != token(value)


@given(values)
def test_shared_parts_and_copies_of_them_are_one(value: object) -> None:
    part = [value]

    assert token([part, part, {"k": part}]) == token([part, copy.deepcopy(part), {"k": copy.deepcopy(part)}])


@given(values)
def test_deep_and_cyclic_values_are_written_like_all_others_where_they_are_alike(value: object) -> None:
    wrapped = Plain({1: value, "x": value})  # never flat, so that both ways are open

    assert graph_token(wrapped, Scratch()) == token(wrapped)


@given(values, st.integers(1, 3), st.integers(1, 3))
def test_a_value_in_a_cycle_counts_and_so_does_the_length_of_the_cycle(value: object, one: int, other: int) -> None:
    assert (token(cycle(value, one)) == token(cycle(value, other))) is (one == other)
    assert token(cycle([value], one)) != token(cycle(value, one))


@given(st.lists(st.tuples(hashable, small), max_size=20), st.randoms())
def test_the_order_in_which_a_dict_was_filled_does_not_count(items: list[Any], random: Any) -> None:
    given_items = dict(items)
    shuffled = list(given_items.items())
    random.shuffle(shuffled)

    assert token(dict(shuffled)) == token(given_items)
    assert token(set(dict(shuffled))) == token(set(given_items))


def cycle(value: object, length: int) -> object:
    members: list[Any] = [[value] for _ in range(length)]
    for here, there in zip(members, members[1:] + members[:1]):
        here.append(there)
    return members[0]


def describe(value: Any) -> Any:
    """All that tells a value from others, in plain tuples of text; what tokens are held against."""
    kind = type(value)
    name = kind.__qualname__
    if kind is float:
        return name, "nan" if math.isnan(value) and abs_bits(value) == abs_bits(math.nan) else struct.pack(
            "<d", value
        ).hex()
    if kind is complex:
        return name, describe(value.real), describe(value.imag)
    if kind in (list, tuple, deque, Point):
        return name, *map(describe, value)
    if kind in (set, frozenset):
        return name, *sorted(map(describe, value), key=repr)
    if kind is OrderedDict:
        return name, *((describe(key), describe(item)) for key, item in value.items())
    if kind in (dict, defaultdict, Counter):
        return name, *sorted(((describe(key), describe(item)) for key, item in value.items()), key=repr)
    if kind in (Data, Frozen):
        return name, describe(value.a), describe(value.b)
    if kind is Plain:
        return name, describe(value.a)
    if kind in (datetime.datetime, datetime.time):
        return name, repr(value), value.fold
    return name, str(value) if kind is decimal.Decimal else repr(value)


def abs_bits(value: float) -> str:
    return struct.pack("<d", math.copysign(value, 1.0)).hex()


Draw = Callable[[st.SearchStrategy[Any]], Any]


def change(value: Any, draw: Draw) -> Any:
    """A copy of a value with one thing changed, somewhere in it."""
    kind = type(value)
    if kind in (list, tuple, deque) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        items = list(value)
        items[place] = change(items[place], draw)
        return kind(items)
    if kind in (dict, OrderedDict, defaultdict) and value and draw(st.booleans()):
        changed = copy.copy(value)
        key = draw(st.sampled_from(list(value)))
        changed[key] = change(changed[key], draw)
        return changed
    if kind in (Data, Plain) and draw(st.booleans()):
        changed = copy.copy(value)
        changed.a = change(changed.a, draw)
        return changed
    return change_here(value, kind)


def change_here(value: Any, kind: type) -> Any:
    """A value of the same type, where that is easy, that differs in one respect."""
    if kind is bool:
        return not value
    if kind is int:
        return value + 1
    if kind is float:
        return 0.5 if math.isnan(value) or math.isinf(value) else math.nextafter(value, math.inf)
    if kind in (str, bytes, bytearray):
        return value + (b"!" if kind is not str else "!")
    if kind in (list, deque):
        return kind([*value, None])
    if kind is tuple:
        return (*value, None)
    if kind in (set, frozenset):
        return kind([*value, "something not there before"])
    if kind in (dict, OrderedDict, defaultdict):
        changed = copy.copy(value)
        changed["something not there before"] = None
        return changed
    if kind in (Fraction, Counter) or kind is uuid.UUID:
        return {
            Fraction: lambda: value + 1,
            Counter: lambda: value + Counter("#"),
            uuid.UUID: lambda: uuid.UUID(int=value.int ^ 1),
        }[kind]()
    return [value]
