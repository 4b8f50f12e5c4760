"""Where the user's own code ends."""

from __future__ import annotations


class Boundary:
    """Says which modules are the user's own: followed, and counted by their code.

    By default that is everything outside the standard library and installed distributions; a distribution installed
    in editable mode counts as own. `include` and `exclude` name modules, packages (with all below them) or single
    names in a module (`"settings.CACHE"`); the longest name that fits decides. What is excluded counts by its name
    only.
    """

    __slots__ = ("exclude", "include")

    def __init__(self, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> None:
        self.include = tuple(include)
        self.exclude = tuple(exclude)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Boundary):
            return NotImplemented
        return (self.include, self.exclude) == (other.include, other.exclude)

    def __hash__(self) -> int:
        return hash((self.include, self.exclude))

    def __repr__(self) -> str:
        return f"Boundary(include={self.include!r}, exclude={self.exclude!r})"


DEFAULT_BOUNDARY = Boundary()
