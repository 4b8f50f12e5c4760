"""docs/key-format.md read literally: a second implementation for the builtins, which must give the same bytes.

It shares no code with `flowstone.hashing`, writes the bytes of `marshal` itself, and makes no attempt to be fast.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from flowstone.hashing import KEY_FORMAT, combine, digest, token

TOKEN_KEY = b"flowstone: token of a value, 1".ljust(32, b".")
BUFFER_KEY = b"flowstone: bytes of a buffer, 1".ljust(32, b".")
COMBINE_KEY = b"flowstone: combined tokens, 1".ljust(32, b".")
ATOMS = (type(None), bool, int, float, str, bytes)


class NoColumns(Exception):
    pass


def marshal(value: Any) -> bytes:
    kind = type(value)
    if value is None or kind is bool:
        return {None: b"N", True: b"T", False: b"F"}[value]
    if kind is int:
        return marshal_int(value)
    if kind is float:
        return b"g" + struct.pack("<d", math.nan if is_minus_nan(value) else value)
    if kind is str:
        text = value.encode("utf-8", "surrogatepass")
        return b"u" + struct.pack("<i", len(text)) + text
    if kind is bytes:
        return b"s" + struct.pack("<i", len(value)) + value
    if kind is dict:
        return b"{" + b"".join(marshal(key) + marshal(value[key]) for key in sorted(value)) + b"0"
    code = {tuple: b"(", list: b"["}[kind]
    return code + struct.pack("<i", len(value)) + b"".join(map(marshal, value))


def marshal_int(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"i" + struct.pack("<i", value)
    digits = []
    rest = abs(value)
    while rest:
        digits.append(rest % 32768)
        rest //= 32768
    count = len(digits) if value > 0 else -len(digits)
    return b"l" + struct.pack("<i", count) + struct.pack(f"<{len(digits)}H", *digits)


def is_minus_nan(value: float) -> bool:
    return struct.pack(">d", value) == bytes.fromhex("fff8000000000000")


def buffer(data: bytes) -> bytes:
    return blake3(data, key=BUFFER_KEY).digest()


def sealed(content: bytes) -> bytes:
    return content if len(content) <= 64 else b"#" + blake3(content, key=TOKEN_KEY).digest()


def node(label: str, *parts: Any) -> bytes:
    return b"n" + marshal((label, *map(reference, parts)))


def node_of_tokens(label: str, tokens: list[bytes]) -> bytes:
    return b"n" + marshal((label, *tokens))


def reference(value: Any) -> bytes:
    return sealed(content(value))


def content(value: Any) -> bytes:
    if is_flat(value):
        return b"m" + marshal(value)
    kind = type(value)
    if kind is str:
        text = value.encode("utf-8", "surrogatepass")
        return node("str", len(text), buffer(text))
    if kind is bytes:
        return node("bytes", len(value), buffer(value))
    if kind is list or kind is tuple:
        return sequence_content(value)
    if kind is dict:
        return dict_content(value)
    return set_content(value)


def is_flat(value: Any) -> bool:
    if type(value) in (str, bytes):
        return len(value) <= 65536
    if type(value) in ATOMS:
        return True
    if type(value) not in (list, tuple, dict):
        return False
    size = tree_size(value, 8)
    return size is not None and size <= 256 and len(marshal(value)) <= 4194304


def tree_size(value: Any, levels: int) -> int | None:
    """How many elements a tree of builtins has; None if it is none, or too deep."""
    if type(value) in ATOMS:
        return 0
    if type(value) not in (list, tuple, dict) or levels == 0:
        return None
    if type(value) is dict and not uniform(list(value), (str, int)):
        return None
    total = len(value)
    for item in value.values() if type(value) is dict else value:
        below = tree_size(item, levels - 1)
        if below is None:
            return None
        total += below
        if total > 256:
            return None
    return total


def uniform(values: list[Any], kinds: tuple[type, ...]) -> bool:
    found = {type(value) for value in values}
    return len(found) <= 1 and found <= set(kinds)


def natural(values: list[Any]) -> list[Any] | None:
    if not values:
        return []
    if type(values[0]) is tuple and uniform(values, (tuple,)):
        if len({len(value) for value in values}) > 1:
            return None
        columns = [list(column) for column in zip(*values)]
    else:
        columns = [values]
    for column in columns:
        if not uniform(column, (str, bytes, int, float)) or any(item != item for item in column):
            return None
    return sorted(values)


def sequence_content(value: Any) -> bytes:
    name = type(value).__name__
    if len(value) > 4096:
        pieces = [list(value[start : start + 4096]) for start in range(0, len(value), 4096)]
        return node(f"long {name}", *pieces)
    if len(value) >= 16:
        try:
            told = Columns(len(value)).column(list(value), 12)
        except NoColumns:
            told = None
        if told is not None and type(told) is bytes:
            return name[:1].encode() + told
        if told is not None and len(marshal(told)) <= 4194304:
            return name[:1].encode() + marshal(told)
    return node(name, *value)


def dict_content(value: dict[Any, Any]) -> bytes:
    keys = natural(list(value))
    if keys is not None:
        return node("dict", keys, [value[key] for key in keys])
    pairs = sorted((reference(key), reference(item)) for key, item in value.items())
    return node_of_tokens("dict of tokens", [part for pair in pairs for part in pair])


def set_content(value: Any) -> bytes:
    name = type(value).__name__
    members = natural(list(value))
    if members is not None:
        return node(name, members)
    return node_of_tokens(f"{name} of tokens", sorted(map(reference, value)))


class Columns:
    def __init__(self, length: int) -> None:
        self.cells = 256 * length

    def column(self, values: list[Any], levels: int) -> Any:
        self.spend(len(values))
        if levels == 0:
            raise NoColumns
        if len(values) >= 16 and self.are_numbers(values):
            return marshal(values)
        kinds = {type(value) for value in values}
        if kinds <= set(ATOMS):
            return values
        if len(kinds) > 1:
            return self.mixed(values, levels)
        kind = kinds.pop()
        rules: dict[type, Callable[[list[Any], int], Any]] = {dict: self.dicts, set: self.sets, frozenset: self.sets}
        return rules.get(kind, self.sequences)(values, levels)

    def spend(self, cells: int) -> None:
        self.cells -= cells
        if self.cells < 0:
            raise NoColumns

    def are_numbers(self, values: list[Any]) -> bool:
        return all(type(value) is float for value in values) or all(
            type(value) is int and -(2**31) <= value < 2**31 for value in values
        )

    def mixed(self, values: list[Any], levels: int) -> Any:
        kinds = [object if type(value) in ATOMS else type(value) for value in values]
        order = list(dict.fromkeys(kinds))
        groups = [[value for value, of in zip(values, kinds) if of is kind] for kind in order]
        return "mixed", bytes(order.index(kind) for kind in kinds), [self.column(group, levels - 1) for group in groups]

    def sequences(self, values: list[Any], levels: int) -> Any:
        return (
            type(values[0]).__name__,
            lengths(values),
            self.column([x for value in values for x in value], levels - 1),
        )

    def sets(self, values: list[Any], levels: int) -> Any:
        members = [member for value in values for member in value]
        self.spend(len(members))
        if not uniform(members, (str, int)):
            raise NoColumns
        return type(values[0]).__name__, lengths(values), [member for value in values for member in sorted(value)]

    def dicts(self, values: list[Any], levels: int) -> Any:
        if not all(uniform(list(value), (str, int)) for value in values):
            raise NoColumns
        orders = [sorted(value) for value in values]
        if all(order == orders[0] for order in orders):
            self.spend(len(orders[0]))
            return "dict", orders[0], [self.column([value[key] for value in values], levels - 1) for key in orders[0]]
        told = [value[key] for value, order in zip(values, orders) for key in order]
        keys = [key for order in orders for key in order]
        if sum(map(len, values)) > self.cells:
            raise NoColumns
        return "dicts", lengths(values), keys, self.column(told, levels - 1)


def lengths(values: list[Any]) -> Any:
    found = [len(value) for value in values]
    return found[0] if len(set(found)) == 1 else found


integers = st.integers(-3, 3) | st.sampled_from([2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**60, -(2**70)])
floats = st.sampled_from([0.0, -0.0, 1.5, -2.0, math.inf, math.nan, -math.nan]) | st.floats()
texts = st.sampled_from(["", "a", "b", "é", "\ud800", "a" * 70]) | st.text(max_size=5)
atoms = st.none() | st.booleans() | integers | floats | texts | st.binary(max_size=5)
keys = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, max_size=5)
    dicts = [st.dictionaries(kind, inner, max_size=4) for kind in (texts, integers, floats, keys)]
    return st.one_of(some, some.map(tuple), *dicts, st.sets(keys, max_size=4), st.frozensets(keys, max_size=4))


values = st.recursive(atoms, containers, max_leaves=25)


@given(values)
def test_any_value_of_builtins_has_the_bytes_the_document_says(value: object) -> None:
    assert token(value) == reference(value)


@given(
    st.lists(values, min_size=1, max_size=3), st.sampled_from([15, 16, 17, 256, 257, 300, 4096, 4097]), st.booleans()
)
def test_long_sequences_have_the_bytes_the_document_says(parts: list[Any], length: int, as_tuple: bool) -> None:
    sequence: Any = (parts * length)[:length]
    sequence = tuple(sequence) if as_tuple else sequence

    assert token(sequence) == reference(sequence)


def rows(make: Callable[[int], object]) -> list[object]:
    return [make(place) for place in range(300)]


@pytest.mark.parametrize(
    "value",
    [
        list(range(10000)),
        tuple(range(10000)),
        [float(i) for i in range(5000)],
        [math.inf - math.inf] * 300,
        [1] * 300 + [True],
        [2**31] * 300,
        {i: str(i) for i in range(5000)},
        {str(i): [i] for i in range(300)},
        {float(i): i for i in range(300)},
        {(i, str(i)): i for i in range(300)},
        {i if i % 2 else str(i): i for i in range(300)},
        set(range(5000)),
        {(i, i) for i in range(300)},
        {i if i % 2 else str(i) for i in range(300)},
        {2**60 - i for i in range(2000)},
        {-i: 0 for i in range(2000)},
        "a" * 65536,
        "é" * 65537,
        b"a" * 65536,
        b"a" * 65537,
        ["a" * 70000] * 20,
        ["a" * 70000] * 100,
        rows(lambda i: (i, i + 1)),
        rows(lambda i: (i,) * (i % 3)),
        rows(lambda i: {"a": i, "b": [i, {"c": None}]}),
        rows(lambda i: {"a": i} if i % 2 else {"a": i, "b": 1}),
        rows(lambda i: {i: 1} if i % 2 else {"a": i}),
        rows(lambda i: {i: 1, "a": i}),
        rows(lambda i: {i, i + 1}),
        rows(lambda i: {i, "a"}),
        rows(lambda i: frozenset("abc"[: i % 4])),
        rows(lambda i: [None, 1, "a", [i], (i,), {"a": i}][i % 6]),
        rows(lambda i: {}),
        rows(lambda i: []),
        rows(lambda i: list(range(300))),
        rows(lambda i: [[[[[[[[[[[[i]]]]]]]]]]]]),
        [rows(float) for _ in range(20)],
        [rows(float) for _ in range(400)],
        {"deep": {"er": rows(lambda i: {"a": i})}},
    ],
)
def test_large_values_have_the_bytes_the_document_says(value: object) -> None:
    assert token(value) == reference(value)


def test_keys_are_combined_as_the_document_says() -> None:
    told = marshal((KEY_FORMAT, "domain", [("a", token(1)), ("b", token([2]))]))

    assert combine("domain", [("a", token(1)), ("b", token([2]))]) == blake3(told, key=COMBINE_KEY).digest()
    assert digest(5) == blake3(marshal((1, "value", [("", b"m" + marshal(5))])), key=COMBINE_KEY).hexdigest()


def test_the_bytes_of_format_1_never_change() -> None:
    """If this fails, keys of older versions are lost: raise KEY_FORMAT on purpose, or undo the change."""
    told = {
        "small": token({"b": [1, None], "a": (True, 1.5)}).hex(),
        "rows": token([{"a": i, "b": {str(i)}} for i in range(1000)]).hex(),
        "digest": digest(["a", 1, {2.5, "x"}]),
    }

    assert told == {
        "small": "6d7b75010000006128020000005467000000000000f83f7501000000625b0200000069010000004e30",
        "rows": "23cfd075e8785e598554a5be91cb16d2d6eaff882f5667316c70e5e3dae47e108c",
        "digest": "4e91e441af68a60cacb3ad64efab952e0fa0fecb4d1a978531299c3e1a7f9307",
    }
