"""CODE: a function's own code and everything of the user's own that it can reach."""

from __future__ import annotations

from typing import Any

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.boundary import DEFAULT_BOUNDARY, Boundary
from flowstone.fingerprints.kept import Kept

_usual = Kept(DEFAULT_BOUNDARY, reach=True)
_kept = {DEFAULT_BOUNDARY: _usual}


def code_fingerprint(fn: Any, boundary: Boundary | None = None) -> Fingerprint:
    """Return the fingerprint of `fn`'s own code and of all code of the user's own that it can reach.

    `boundary` says what the user's own is. Names are resolved as they are now; what cannot be followed is listed in
    `unresolved`. Raises nothing for code it cannot read: that counts by its bytecode.
    """
    if boundary is None:
        return _usual.of(fn)
    kept = _kept.get(boundary)
    if kept is None:
        kept = _kept.setdefault(boundary, Kept(boundary, reach=True))
    return kept.of(fn)
