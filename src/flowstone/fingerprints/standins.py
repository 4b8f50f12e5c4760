"""Short digests that stand for functions and classes inside of values, before they are followed."""

from __future__ import annotations

from types import CellType, FunctionType

from flowstone.exceptions import HashError
from flowstone.fingerprints.analysis import analyse_function
from flowstone.fingerprints.boundary import Boundary
from flowstone.fingerprints.classes import class_digest, module_of
from flowstone.fingerprints.names import public_name
from flowstone.fingerprints.nodes import leaf
from flowstone.fingerprints.territory import OWN, territory_of
from flowstone.fingerprints.values import hold
from flowstone.hashing import combine


def stand_in(boundary: Boundary, code: FunctionType | type) -> bytes | None:
    """Return a digest of what a piece of code says by itself; None for a class that is not the user's own."""
    if isinstance(code, type):
        if territory_of(module_of(code), boundary, code.__qualname__).kind != OWN:
            return None
        return class_digest(code)
    module = str(code.__globals__.get("__name__") or "")
    if territory_of(module, boundary, code.__qualname__).kind != OWN:
        return leaf("function", public_name(code))
    carried = [*(code.__defaults__ or ()), *map(_content, code.__closure__ or ())]
    said = [(str(place), _said(value)) for place, value in enumerate(carried)]
    return combine("stand-in", [("", analyse_function(code).digest), *said])


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _said(value: object) -> bytes:
    """Return what a value says by itself; the code in it is not looked into, which may be the code that asks."""
    try:
        return hold(value, "", lambda _: b"code").token
    except HashError:
        return leaf("opaque", public_name(type(value)))
