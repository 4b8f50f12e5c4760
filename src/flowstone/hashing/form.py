"""The written form of values: how contents become tokens, and the nodes that values unfold into.

docs/key-format.md is the specification; a change of any byte written here is a new KEY_FORMAT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from marshal import dumps

from blake3 import blake3

from flowstone.hashing import threads

KEY_FORMAT = 1
INLINE = 64  # a content of at most this many bytes is its own token
THREADED = 1 << 20  # from here on a second thread pays for its start

TOKEN_KEY = b"flowstone: token of a value, 1".ljust(32, b".")
BUFFER_KEY = b"flowstone: bytes of a buffer, 1".ljust(32, b".")
COMBINE_KEY = b"flowstone: combined tokens, 1".ljust(32, b".")

_token_hasher = blake3(key=TOKEN_KEY)
_combine_hasher = blake3(key=COMBINE_KEY)

Buffer = bytes | bytearray | memoryview


def seal(content: bytes) -> bytes:
    """Give the token of a content: itself when short, else its digest behind a mark no content begins with."""
    if len(content) <= INLINE:
        return content
    hasher = _token_hasher.copy()
    hasher.update(content)
    return b"#" + hasher.digest()


def node(label: str, fields: Iterable[bytes]) -> bytes:
    """Give the content of a value that is made of parts: its label, then the tokens of the parts."""
    return b"n" + dumps((label, *fields), 2)


def buffer_digest(buffer: Buffer) -> bytes:
    """Digest raw bytes; large ones with several threads."""
    if len(buffer) < THREADED:
        return blake3(buffer, key=BUFFER_KEY).digest()
    return blake3(buffer, key=BUFFER_KEY, max_threads=threads.allowed()).digest()


def buffer_hasher() -> blake3:
    """A hasher whose digest over all updates is the `buffer_digest` of the bytes in one piece."""
    return blake3(key=BUFFER_KEY, max_threads=threads.allowed())


def combine(domain: str, items: Iterable[tuple[str, bytes]]) -> bytes:
    """Digest named tokens, in the order given, under a domain; 32 bytes."""
    hasher = _combine_hasher.copy()
    hasher.update(dumps((KEY_FORMAT, domain, [(name, bytes(token)) for name, token in items]), 2))
    return hasher.digest()


def part_digest(token: bytes) -> str:
    """Sixteen hexadecimal digits that stand for a token where people read it."""
    return combine("part", (("", token),))[:8].hex()


class Node:
    """What one value unfolds into: a label and parts in order; the parts are values themselves.

    `kind` is the value's class where that counts; it is then written as if it were the first part.
    """

    __slots__ = ("kind", "label", "names", "parts")

    def __init__(
        self,
        label: str,
        parts: Sequence[object],
        names: Sequence[str] | Callable[[int], str] = (),
        *,
        kind: type | None = None,
    ) -> None:
        self.label = label
        self.parts = parts
        self.names = names
        self.kind = kind

    def order(self, tokens: Sequence[bytes]) -> Iterable[int]:
        """The places of the parts in the order they are written, once their tokens are known."""
        return range(len(tokens))

    def content(self, tokens: Sequence[bytes]) -> bytes:
        return node(self.label, tokens)

    def segment(self, place: int) -> str:
        """How the path to a part goes on: `.name`, `['key']`, `[3]`, or nothing for what users never see."""
        names = self.names
        if callable(names):
            return names(place)
        return names[place] if place < len(names) else ""


class Bag(Node):
    """Parts without an order: written in the order of their tokens."""

    __slots__ = ()

    def order(self, tokens: Sequence[bytes]) -> Iterable[int]:
        return sorted(range(len(tokens)), key=tokens.__getitem__)

    def content(self, tokens: Sequence[bytes]) -> bytes:
        return node(self.label, sorted(tokens))


class Pairs(Node):
    """Keys and values in turn: written in the order of the keys' tokens."""

    __slots__ = ()

    def order(self, tokens: Sequence[bytes]) -> Iterable[int]:
        firsts = sorted(range(0, len(tokens), 2), key=lambda place: (tokens[place], tokens[place + 1]))
        return [place for first in firsts for place in (first, first + 1)]

    def content(self, tokens: Sequence[bytes]) -> bytes:
        return node(self.label, [tokens[place] for place in self.order(tokens)])


class Items:
    """A list of ours that knows what its places are called in the user's value; its token is the list's."""

    __slots__ = ("name", "values")

    def __init__(self, values: list[object], name: Callable[[int], str]) -> None:
        self.values = values
        self.name = name


class State:
    """The attributes of an object; its token is the dict's, its path has dots."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: dict[str, object]) -> None:
        self.attributes = attributes


class Refused(Exception):
    """Hashing met a value it cannot take; collects the path to it while the walk unwinds."""

    def __init__(self, culprit: type, reason: str) -> None:
        super().__init__(reason)
        self.culprit = culprit
        self.reason = reason
        self.segments: list[str] = []  # innermost first

    def path(self, root: str) -> str:
        segments = self.segments[::-1]
        if len(segments) > 2 * _SHOWN:
            segments[_SHOWN:-_SHOWN] = ["..."]
        return root + "".join(segments)


_SHOWN = 20  # steps of a very long path at each end
