"""TASK_SOURCE: a function's own code."""

from __future__ import annotations

from typing import Any

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.boundary import DEFAULT_BOUNDARY
from flowstone.fingerprints.kept import Kept
from flowstone.fingerprints.walk import Walk

_kept = Kept()


def source_fingerprint(fn: Any) -> Fingerprint:
    """Return the fingerprint of `fn`'s own code, normalised, with the values it carries: defaults and closure.

    Comments, layout and the options of flowstone's decorators do not count. Functions in its closure or behind
    `functools.wraps` count by their own code in turn; names it reads do not.
    """
    found = _kept.get(fn)
    if found is None:
        walk = Walk(fn, DEFAULT_BOUNDARY, reach=False)
        found = _kept.keep(fn, walk.fingerprint(), walk.guard)
    return found
