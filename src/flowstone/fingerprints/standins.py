"""Short digests that stand for functions and classes inside of values, before they are followed."""

from __future__ import annotations

from types import CellType, FunctionType

from flowstone.fingerprints.analysis import analyse_function
from flowstone.fingerprints.boundary import Boundary
from flowstone.fingerprints.classes import class_digest, module_of
from flowstone.fingerprints.names import public_name
from flowstone.fingerprints.nodes import leaf
from flowstone.fingerprints.territory import OWN, territory_of
from flowstone.hashing import combine, token

_ATOMS = (type(None), bool, int, float, str, bytes)


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
    plain = [(str(place), token(value)) for place, value in enumerate(carried) if type(value) in _ATOMS]
    return combine("stand-in", [("", analyse_function(code).digest), *plain])


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return cell
