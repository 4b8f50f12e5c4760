"""Fingerprints of code: one function's own (TASK_SOURCE), or all that it reaches (CODE)."""

from __future__ import annotations

from flowstone.fingerprints import encoders
from flowstone.fingerprints.base import CodePart, Fingerprint, Unresolved
from flowstone.fingerprints.boundary import DEFAULT_BOUNDARY, Boundary
from flowstone.fingerprints.code import code_fingerprint
from flowstone.fingerprints.memo import set_memo_dir
from flowstone.fingerprints.source import source_fingerprint

__all__ = [
    "DEFAULT_BOUNDARY",
    "Boundary",
    "CodePart",
    "Fingerprint",
    "Unresolved",
    "code_fingerprint",
    "set_memo_dir",
    "source_fingerprint",
]

encoders.register()
