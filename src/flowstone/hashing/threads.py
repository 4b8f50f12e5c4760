"""How many threads BLAKE3 may use: all, but in the child of a fork one.

Its thread pool belongs to the process that started it. A forked child has the pool without its threads, and would wait
for them for ever.
"""

from __future__ import annotations

import os

from blake3 import blake3


class _Threads:
    allowed: int = blake3.AUTO


def allowed() -> int:
    """What to give as `max_threads` where threads are worth it."""
    return _Threads.allowed


def _alone() -> None:
    _Threads.allowed = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone)
