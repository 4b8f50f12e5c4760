"""What a fingerprint of code is: the parts it was made of, and what could not be followed.

The obligations of `source_fingerprint` and `code_fingerprint`, which the corpus of code edits holds them to:

- The same code gives the same digest in every process, on every machine and Python version, under every hash seed and
  order of imports; where the code lies (file, line, module) does not count.
- Code that may behave differently gives a different digest. When in doubt it differs: work is done again, never
  wrongly reused.
- What is counted is the code that is loaded, never a newer text of its file.
- What cannot be followed is listed in `unresolved`, and counts by what is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flowstone.hashing import part_digest


class CodePart:
    """One piece of code or one value that a fingerprint counts.

    `name` is qualified (`helpers.scale`), `kind` is one of `function`, `class`, `global`, `closure`, `default`,
    `distribution`, `stdlib` and `module`; `digest` is the hex digest of this part alone, without what it refers to.
    """

    __slots__ = ("_digest", "_text", "file", "kind", "line", "name")

    def __init__(
        self, name: str, kind: str, digest: bytes, *, file: str = "", line: int = 0, text: Callable[[], str] | str = ""
    ) -> None:
        self.name = name
        self.kind = kind
        self._digest = digest
        self.file = file
        self.line = line
        self._text = text

    @property
    def digest(self) -> str:
        """Hexadecimal digits, as many as people can tell apart."""
        return part_digest(self._digest)

    @property
    def text(self) -> str:
        """The part in its normal form, to be shown and compared; made when first asked for."""
        if not isinstance(self._text, str):
            self._text = self._text()
        return self._text

    def __repr__(self) -> str:
        return f"CodePart({self.name!r}, {self.kind!r}, {self.digest!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _part, (self.name, self.kind, self._digest, self.file, self.line, self.text)


def _part(name: str, kind: str, digest: bytes, file: str, line: int, text: str) -> CodePart:
    return CodePart(name, kind, digest, file=file, line=line, text=text)


class Unresolved:
    """An expression that could not be followed: in which part it stands, what it says, and why."""

    __slots__ = ("expression", "reason", "where")

    def __init__(self, where: str, expression: str, reason: str) -> None:
        self.where = where
        self.expression = expression
        self.reason = reason

    def __repr__(self) -> str:
        return f"Unresolved({self.where!r}, {self.expression!r}, {self.reason!r})"

    def __str__(self) -> str:
        return f"{self.expression} in {self.where}: {self.reason}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unresolved):
            return NotImplemented
        return (self.where, self.expression, self.reason) == (other.where, other.expression, other.reason)

    def __hash__(self) -> int:
        return hash((self.where, self.expression, self.reason))

    def __reduce__(self) -> tuple[object, ...]:
        return Unresolved, (self.where, self.expression, self.reason)


class Fingerprint:
    """The digest (32 bytes) of a piece of code, with the parts it was made of; equal when the digests are.

    `parts` begins with the function itself. `unresolved` lists what could not be followed.
    """

    __slots__ = ("digest", "parts", "unresolved")

    digest: bytes
    parts: tuple[CodePart, ...]
    unresolved: tuple[Unresolved, ...]

    def __init__(self, digest: bytes, parts: Iterable[CodePart], unresolved: Iterable[Unresolved] = ()) -> None:
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "parts", tuple(parts))
        object.__setattr__(self, "unresolved", tuple(unresolved))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A fingerprint does not change; cannot set {name!r}.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"A fingerprint does not change; cannot delete {name!r}.")

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Fingerprint) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Fingerprint {self.digest.hex()[:16]} of {len(self.parts)} parts>"

    def __str__(self) -> str:
        lines = [f"fingerprint {self.digest.hex()}"]
        width = max((len(part.name) for part in self.parts), default=0)
        for part in self.parts:
            place = f"  {part.file}:{part.line}" if part.file else ""
            lines.append(f"  {part.kind:<12} {part.name:<{width}}  {part.digest}{place}")
        if self.unresolved:
            lines.append("not followed:")
            lines += [f"  {item}" for item in self.unresolved]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return Fingerprint, (self.digest, self.parts, self.unresolved)
