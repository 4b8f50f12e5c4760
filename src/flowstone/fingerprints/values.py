"""Tokens of values that may hold functions and classes, which then are followed like any other code.

While such a token is made, hashing asks here for each function and class it meets. It gets a short stand-in, so that
the token says where in the value they are, and they themselves become edges of the graph. Cycles through values thus
end like all others.
"""

from __future__ import annotations

from typing import NamedTuple

from flowstone.fingerprints.meeting import Code, StandIn, meeting
from flowstone.hashing import combine, token


class Held(NamedTuple):
    """The token of a value, and the functions and classes in it under names that do not depend on their order."""

    token: bytes
    code: tuple[tuple[str, Code], ...]

    def identity(self) -> tuple[object, ...]:
        """What tells in this process whether a value is still the same, down to the very functions in it."""
        return (self.token, *(id(code) for _, code in self.code))


def hold(value: object, path: str, stand_in: StandIn) -> Held:
    """Return a value's token and the code in it, for which `stand_in` gives a digest; raises HashError like `token`."""
    met = _Met(stand_in)
    result = met.token(value, path)
    if met.ambiguous():
        result = met.token(value, path)
    return Held(result, met.named())


class _Met:
    """The functions and classes met in one value."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._digests: dict[int, bytes] = {}
        self._code: dict[int, Code] = {}
        self._ranks: dict[int, int] = {}

    def token(self, value: object, path: str) -> bytes:
        before, meeting.stand_in = meeting.stand_in, self.meet
        try:
            return token(value, path)
        finally:
            meeting.stand_in = before

    def meet(self, code: Code) -> bytes | None:
        digest = self._digests.get(id(code))
        if digest is None:
            found = self._stand_in(code)
            if found is None:
                return None
            digest = self._digests[id(code)] = found
            self._code[id(code)] = code
        rank = self._ranks.get(id(code), 0)
        return combine("twin", [(str(rank), digest)]) if rank else digest

    def ambiguous(self) -> bool:
        """Whether different pieces of code have one stand-in; then ranks, by name, tell them apart from here on."""
        groups: dict[bytes, list[int]] = {}
        for key, digest in self._digests.items():
            groups.setdefault(digest, []).append(key)
        for keys in groups.values():
            keys.sort(key=lambda key: (self._code[key].__module__ or "", self._code[key].__qualname__))
            self._ranks.update({key: rank for rank, key in enumerate(keys)})
        return any(self._ranks.values())

    def named(self) -> tuple[tuple[str, Code], ...]:
        named = [(f"{self._digests[key].hex()}.{self._ranks[key]}", code) for key, code in self._code.items()]
        return tuple(sorted(named, key=lambda item: item[0]))


_FROZEN = frozenset({"datetime", "decimal", "fractions", "pathlib", "re", "uuid", "zoneinfo", "ipaddress"})
_FROZEN_BUILTINS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    type(Ellipsis),
    type(NotImplemented),
)


def is_frozen(value: object) -> bool:
    """Whether a value cannot change in place, as far as that is plain from its type."""
    kind = type(value)
    if kind in _FROZEN_BUILTINS:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_frozen, value))  # type: ignore[call-overload]
    return kind.__module__.partition(".")[0] in _FROZEN
