"""CODE: a function's own code and everything of the user's own that it can reach."""

from __future__ import annotations

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.boundary import DEFAULT_BOUNDARY, Boundary
from flowstone.fingerprints.source import source_fingerprint


def code_fingerprint(fn: object, boundary: Boundary = DEFAULT_BOUNDARY) -> Fingerprint:
    """Return the fingerprint of `fn`'s own code and of the user's own code that it can reach."""
    return source_fingerprint(fn)
