"""The plan of a key: what a policy makes of one call.

Lookup, explanations, history and the web page all read the plan; nothing works it out another way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from flowstone.hashing import combine, part_digest

if TYPE_CHECKING:
    from flowstone.fingerprints import Fingerprint

KEY_HEX_DIGITS: Final = 40  # 160 bits: two different calls never meet, and a listing still fits on a screen

Piece = tuple[str, bytes]


class Part(NamedTuple):
    """One named ingredient of a key and the digest of what it was in this call."""

    name: str
    digest: str


class FingerprintedTask(Protocol):
    """What a policy asks of a task."""

    @property
    def name(self) -> str: ...

    @property
    def keyword_parameter(self) -> str | None:
        """The name of the `**kwargs` parameter, if there is one."""

    def source_fingerprint(self) -> Fingerprint: ...

    def code_fingerprint(self, boundary: Any = None) -> Fingerprint: ...


class Call:
    """One call as a policy sees it: the task, the bound arguments, and the run around it.

    `context` and `run_id` are recipes, since most policies need neither. `fingerprint` is set by the ingredient that
    counts code, if there is one.
    """

    __slots__ = ("context", "fingerprint", "flow_parameters", "inputs", "run_id", "task")

    def __init__(
        self,
        task: FingerprintedTask | None,
        inputs: Mapping[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        run_id: Callable[[], str | None],
        context: Callable[[], Any],
    ) -> None:
        self.task = task
        self.inputs = inputs
        self.flow_parameters = flow_parameters
        self.run_id = run_id
        self.context = context
        self.fingerprint: Fingerprint | None = None


class NoKey(Exception):
    """An ingredient says that this call has no key; the message is the reason."""


class KeyPlan:
    """The key of one call, the named parts it was made of, and the reason when there is no key.

    `problem` is the error behind the reason where there was one; `verbatim` says that a user chose the very text of
    the key, which must then be checked before it names a file.
    """

    __slots__ = ("_fingerprint", "_pieces", "key", "policy", "problem", "reason", "verbatim")

    def __init__(
        self,
        key: str | None,
        pieces: list[Piece],
        policy: object,
        reason: str | None = None,
        problem: Exception | None = None,
        fingerprint: Fingerprint | None = None,
        verbatim: bool = False,
    ) -> None:
        self.key = key
        self.verbatim = verbatim
        self.policy = policy
        self.reason = reason
        self.problem = problem
        self._pieces = pieces
        self._fingerprint = fingerprint

    @property
    def parts(self) -> tuple[Part, ...]:
        """The ingredients by name; followed functions come one by one after the digest of them all."""
        parts = [Part(name, part_digest(token)) for name, token in self._pieces]
        if self._fingerprint is not None:
            parts += [Part(f"code:{part.name}", part.digest) for part in self._fingerprint.parts]
        return tuple(parts)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The code that counts in this key, if any does."""
        return self._fingerprint

    def __repr__(self) -> str:
        made_of = ", ".join(part.name for part in self.parts)
        return f"KeyPlan({self.key!r}, [{made_of}])" if self.key else f"KeyPlan(None, reason={self.reason!r})"


def key_of(pieces: list[Piece]) -> str:
    """Return the key that these pieces make, in whatever order they were gathered."""
    if len(pieces) > 1:
        pieces.sort()
    return combine("key", pieces).hex()[:KEY_HEX_DIGITS]
