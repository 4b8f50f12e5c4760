"""From any value to its token."""

from __future__ import annotations

from flowstone.exceptions import HashError
from flowstone.hashing.flat import ATOMS, dumps
from flowstone.hashing.form import INLINE, Refused, seal
from flowstone.hashing.graph import graph_token
from flowstone.hashing.unfold import Scratch, content_of, direct, unfold

MAX_DEPTH = 60  # of Python calls; deeper values, and those that contain themselves, are walked by `graph`
HEAVY = 64  # a value that unfolds into more nodes than this is remembered, so that sharing cannot blow up the walk


def token(value: object, path: str = "value") -> bytes:
    """Give the canonical token of a value: at most 64 bytes, the same in every process and on every machine.

    Raises HashError, with the way to the culprit from `path` on, if the value or something in it has no content to
    hash: iterators, locks, connections, and the like.
    """
    try:
        kind = type(value)
        if kind in ATOMS and (kind is not float or value == value):
            content = b"m" + dumps(value, 2)
            if len(content) <= INLINE:
                return content
        return _token(value)
    except Refused as refused:
        raise hash_error(refused, path) from refused.__cause__
    except RecursionError as error:
        raise HashError(
            f"{path}: too little stack is left to hash it.", path=path, culprit=_name(type(value))
        ) from error
    except (
        TypeError
    ) as error:  # classes that cannot be hashed themselves, since their metaclass says when they are equal
        raise HashError(f"{path}: cannot be hashed: {error}.", path=path, culprit=_name(type(value))) from error


def _token(value: object) -> bytes:
    scratch = Scratch()
    content = direct(value, scratch)
    if content is not None:
        return seal(content)
    try:
        return _Walk(scratch).node(value, 0)
    except (_TooDeep, RecursionError):
        return graph_token(value, scratch)


class _TooDeep(Exception):
    pass


class _Walk:
    """One walk over a value by recursion: the fast way, for values that are neither deep nor cyclic."""

    __slots__ = ("count", "known", "scratch")

    def __init__(self, scratch: Scratch) -> None:
        self.count = 0
        self.known: dict[int, tuple[object, bytes]] = {}  # by id; holds on to the value, so that the id stays its own
        self.scratch = scratch

    def node(self, value: object, depth: int) -> bytes:
        if depth > MAX_DEPTH:
            raise _TooDeep
        if self.known and (entry := self.known.get(id(value))) is not None:
            return entry[1]
        before = self.count
        unfolded = unfold(value)
        tokens: list[bytes] = []
        try:
            for part in unfolded.parts:
                content = direct(part, self.scratch)
                tokens.append(self.node(part, depth + 1) if content is None else seal(content))
        except Refused as refused:
            refused.segments.append(unfolded.segment(len(tokens)))
            raise
        result = seal(content_of(unfolded, tokens, self.scratch))
        self.count += len(tokens) + 1
        if self.count - before > HEAVY:
            self.known[id(value)] = (value, result)
        return result


def hash_error(refused: Refused, root: str) -> HashError:
    """Say where the culprit is, what it is, and the ways out."""
    culprit = _name(refused.culprit)
    path = refused.path(root)
    message = f"{path}: {culprit} cannot be hashed by content: {refused.reason}. {_ways_out(root)}"
    return HashError(message, path=path, culprit=culprit)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _ways_out(root: str) -> str:
    ways = "register a hasher for it with flowstone.hashing.register, or use a key function (cache_key_fn)"
    if root.startswith("inputs["):
        return f"Exclude it with `INPUTS - {root[7:-1]}`, {ways}."
    return f"Leave it out of the key, {ways}."
