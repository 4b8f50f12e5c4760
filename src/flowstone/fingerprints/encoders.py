"""How functions, classes and tasks count where they are values: as arguments of tasks, and inside of other values."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from flowstone.fingerprints.code import code_fingerprint
from flowstone.fingerprints.meeting import stand_in_for
from flowstone.hashing import register_classes, register_functions, register_type
from flowstone.hashing.form import Node
from flowstone.hashing.registry import encoder_for

_usual_class = encoder_for(object)  # how hashing writes classes by itself


def encode_function(fn: FunctionType) -> bytes:
    """Return the digest of a function given as a value: its CODE fingerprint."""
    return stand_in_for(fn) or code_fingerprint(fn).digest


def encode_class(kind: type) -> bytes:
    """Return the digest of a class that no other process finds by its name: its CODE fingerprint."""
    return stand_in_for(kind) or code_fingerprint(kind).digest


def _class(kind: type) -> Node:
    digest = stand_in_for(kind)
    return Node("followed class", (digest,)) if digest is not None else _usual_class(kind)


def _runnable(value: Any) -> Node:
    return Node("runnable", (value.fn,), (".fn",))


def register() -> None:
    """Tell hashing how code counts."""
    register_functions(encode_function)
    register_classes(encode_class)
    register_type("builtins.type", _class, subclasses=True)
    register_type("flowstone.tasks.Task", _runnable, subclasses=True)
    register_type("flowstone.flows.Flow", _runnable, subclasses=True)
