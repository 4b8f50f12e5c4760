"""CODE: a function's own code and everything of the user's own that it can reach."""

from __future__ import annotations

from typing import Any

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.boundary import DEFAULT_BOUNDARY, Boundary
from flowstone.fingerprints.identity import ByIdentity
from flowstone.fingerprints.kept import Kept

_usual = Kept(DEFAULT_BOUNDARY, reach=True)
_kept = {DEFAULT_BOUNDARY: _usual}
_kept_by_owner: ByIdentity[dict[Boundary, Kept]] = ByIdentity()


def code_fingerprint(fn: Any, boundary: Boundary | None = None, owner: type | None = None) -> Fingerprint:
    """Return the fingerprint of `fn`'s own code and of all code of the user's own that it can reach.

    `boundary` says what the user's own is. `owner` is the class a method was looked up on, where it is known: a
    subclass may have other methods than the class that the function was written in. Names are resolved as they are
    now; what cannot be followed is listed in `unresolved`. Raises nothing for code it cannot read: that counts by its
    bytecode.
    """
    if boundary is None and owner is None:
        return _usual.of(fn)
    boundary = boundary or DEFAULT_BOUNDARY
    kept = _kept if owner is None else _kept_by_owner.get(owner) or _kept_by_owner.keep(owner, {})
    if boundary not in kept:
        kept[boundary] = Kept(boundary, reach=True, owner=owner)
    return kept[boundary].of(fn)
