"""scipy.sparse: by format, shape and stored elements in order; the order and type of indices make no difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from flowstone.hashing.arrays import pieces
from flowstone.hashing.form import Node, buffer_hasher
from flowstone.hashing.registry import register_type


def _sparse(value: Any) -> Node:
    if value.format in ("csr", "csc"):
        places, data = _compressed(value)
    else:
        places, data = _coordinates(value)
    block = value.blocksize if value.format == "bsr" else None
    parts = (value.format, value.shape, block, [_index_digest(place) for place in places], data)
    return Node("sparse array", parts, kind=type(value))


def _compressed(value: Any) -> tuple[list[Any], Any]:
    if not value.has_canonical_format:
        value = value.copy()
        value.sum_duplicates()
    return [value.indptr, value.indices], value.data


def _coordinates(value: Any) -> tuple[list[Any], Any]:
    """The elements sorted by their places, whatever else the format keeps."""
    told = value.tocoo(copy=False)
    places = list(told.coords) if hasattr(told, "coords") else [told.row, told.col]
    if not told.has_canonical_format:
        told = told.copy()
        told.sum_duplicates()
        places = list(told.coords) if hasattr(told, "coords") else [told.row, told.col]
    return places, told.data


def _index_digest(places: Any) -> bytes:
    hasher = buffer_hasher()
    for piece in pieces(np.asarray(places)):
        hasher.update(piece.astype("<i8").data.cast("B"))
    return hasher.digest()


for _base in ("sparray", "spmatrix"):
    if hasattr(scipy.sparse, _base):
        register_type(getattr(scipy.sparse, _base), _sparse, subclasses=True)
