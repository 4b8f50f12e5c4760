"""What each kind of value is made of: contents of flat values, nodes of all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowstone.hashing.columns import CHUNK, columns
from flowstone.hashing.flat import ATOMS, CONTAINERS, flat, scalar
from flowstone.hashing.form import Bag, Items, Node, Pairs, Refused, State, buffer_digest, buffer_hasher, seal
from flowstone.hashing.order import in_order
from flowstone.hashing.registry import encoder_for

_SETS = frozenset({set, frozenset})
_MARKS = {list: b"l", tuple: b"t"}


class Scratch:
    """What one walk knows already: the tokens of classes, and the sequences that have no columns (by id)."""

    __slots__ = ("classes", "without_columns")

    def __init__(self) -> None:
        self.classes: dict[type, bytes] = {}
        self.without_columns: dict[int, object] = {}  # holds on to them, so that their ids stay theirs


def direct(value: object, scratch: Scratch) -> bytes | None:
    """The content of a value that is written in one piece; None for one that unfolds into parts."""
    kind: Any = type(value)
    if kind in ATOMS:
        return scalar(value)
    if kind is Items:
        kind, value = list, value.values  # type: ignore[attr-defined]
    elif kind is State:
        kind, value = dict, value.attributes  # type: ignore[attr-defined]
    if kind not in CONTAINERS:
        return None
    content = flat(value)
    if content is None and kind is not dict:
        return _by_columns(_MARKS[kind], value, scratch)  # type: ignore[arg-type]
    return content


def _by_columns(mark: bytes, value: list[object] | tuple[object, ...], scratch: Scratch) -> bytes | None:
    if id(value) in scratch.without_columns:
        return None
    content = columns(mark, value, unfold_alike, class_token)
    if content is None:
        scratch.without_columns[id(value)] = value
    return content


def class_token(kind: type) -> bytes:
    """The token of a class; it never depends on tokens further up.

    Nothing is remembered from one walk to the next: whoever encodes classes may want to be told of each.
    """
    unfolded = unfold(kind)
    return seal(unfolded.content([seal(scalar(part) or b"") for part in unfolded.parts]))


def content_of(unfolded: Node, tokens: list[bytes], scratch: Scratch) -> bytes:
    """The content of a node, once the tokens of its parts are known."""
    kind = unfolded.kind
    if kind is None:
        return unfolded.content(tokens)
    if kind not in scratch.classes:
        scratch.classes[kind] = class_token(kind)
    return unfolded.content([scratch.classes[kind], *tokens])


def unfold(value: object) -> Node:
    """Unfold a value that is not flat."""
    kind = type(value)
    if kind is list or kind is tuple:
        return _sequence("tuple" if kind is tuple else "list", value, _index)  # type: ignore[arg-type]
    if kind is Items:
        return _sequence("list", value.values, value.name)  # type: ignore[attr-defined]
    if kind is dict:
        return _mapping(value, _key)  # type: ignore[arg-type]
    if kind is State:
        return _mapping(value.attributes, _attribute)  # type: ignore[attr-defined]
    if kind in _SETS:
        return _set("set" if kind is set else "frozenset", value)  # type: ignore[arg-type]
    if kind is str:
        return _long_text(value)  # type: ignore[arg-type]
    if kind is bytes:
        return Node("bytes", (len(value), buffer_digest(value)))  # type: ignore[arg-type]
    return unfold_alike((value,))[0]


def unfold_alike(values: Sequence[object]) -> list[Node]:
    """Unfold values of one type, none of them a builtin with a rule of its own."""
    try:
        encoder = encoder_for(values[0])
        return [encoder(value) for value in values]
    except (Refused, RecursionError):
        raise
    except Exception as error:
        kind = type(values[0])
        raise Refused(kind, f"asking it for its content raised {type(error).__name__}: {error}") from error


def _sequence(label: str, values: list[object] | tuple[object, ...], name: Callable[[int], str]) -> Node:
    if len(values) <= CHUNK:
        return Node(label, values, name)
    chunks = [
        Items(list(values[start : start + CHUNK]), lambda place, start=start: name(start + place))  # type: ignore[misc]
        for start in range(0, len(values), CHUNK)
    ]
    return Node(f"long {label}", chunks)


def _mapping(values: dict[Any, Any], name: Callable[[object], str]) -> Node:
    given = list(values)
    keys = in_order(given)
    if keys is not None:
        told = list(values.values()) if keys == given else list(map(values.__getitem__, keys))
        return Node("dict", (keys, Items(told, lambda place: name(keys[place]))))
    items = list(values.items())
    return Pairs(
        "dict of tokens",
        [part for item in items for part in item],
        lambda place: f".keys()[{place // 2}]" if place % 2 == 0 else name(items[place // 2][0]),
    )


def _set(label: str, values: set[Any] | frozenset[Any]) -> Node:
    members = in_order(values)
    if members is not None:
        return Node(label, (members,))
    return Bag(f"{label} of tokens", list(values), lambda place: "{}")


def _long_text(text: str) -> Node:
    hasher = buffer_hasher()
    size = 0
    for start in range(0, len(text), 1 << 20):
        piece = text[start : start + (1 << 20)].encode("utf-8", "surrogatepass")
        size += len(piece)
        hasher.update(piece)
    return Node("str", (size, hasher.digest()))


def _index(place: int) -> str:
    return f"[{place}]"


def _attribute(name: object) -> str:
    return f".{name}"


def _key(key: object) -> str:
    if type(key) not in ATOMS:
        return f"[<{type(key).__qualname__}>]"
    text = repr(key)
    return f"[{text}]" if len(text) <= 60 else f"[{text[:40]}...]"
