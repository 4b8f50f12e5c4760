"""Content hashing: the same key if and only if the same value, in every process and on every machine.

`token` gives the canonical token of a value, `combine` the digest of named tokens; `register` teaches it a type.
The format is specified in docs/key-format.md.
"""

from __future__ import annotations

from flowstone.hashing.callables import register_classes, register_functions
from flowstone.hashing.form import KEY_FORMAT, buffer_digest, buffer_hasher, combine, part_digest
from flowstone.hashing.registry import register, register_type
from flowstone.hashing.walk import token

__all__ = [
    "KEY_FORMAT",
    "buffer_digest",
    "buffer_hasher",
    "combine",
    "digest",
    "part_digest",
    "register",
    "register_classes",
    "register_functions",
    "register_type",
    "token",
]


def digest(value: object) -> str:
    """Give the digest of a value as 64 hexadecimal digits."""
    return combine("value", (("", token(value)),)).hex()
