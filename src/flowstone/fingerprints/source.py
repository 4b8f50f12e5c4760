"""TASK_SOURCE: a function's own code."""

from __future__ import annotations

from typing import Any

from flowstone.fingerprints.base import Fingerprint
from flowstone.fingerprints.boundary import DEFAULT_BOUNDARY
from flowstone.fingerprints.kept import Kept

_kept = Kept(DEFAULT_BOUNDARY, reach=False)


def source_fingerprint(fn: Any) -> Fingerprint:
    """Return the fingerprint of `fn`'s own code, normalised, with the values it carries: defaults and closure.

    Comments, layout and the options of flowstone's decorators do not count. Functions in its closure or behind
    `functools.wraps` count by their own code in turn; names it reads do not.
    """
    return _kept.of(fn)
