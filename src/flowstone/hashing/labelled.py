"""xarray: variables by dimensions, data and attributes; `encoding` and how the data were loaded make no difference."""

from __future__ import annotations

from typing import Any

import xarray as xr

from flowstone.hashing.form import Node, Refused
from flowstone.hashing.registry import register_type


def _variable(value: Any) -> Node:
    if value.chunks is not None:
        raise Refused(type(value), "its data are lazy; pass what .compute() gives")
    return Node("xarray variable", (value.dims, value.data, value.attrs), (".dims", "", ".attrs"))


def _data_array(value: Any) -> Node:
    parts = (value.name, value.variable, _coords(value), sorted(map(str, value.xindexes)))
    return Node("xarray array", parts, (".name", "", ".coords", ""), kind=_own_kind(value, xr.DataArray))


def _dataset(value: Any) -> Node:
    data = {name: array.variable for name, array in value.data_vars.items()}
    parts = (data, _coords(value), sorted(map(str, value.xindexes)), value.attrs)
    return Node("xarray dataset", parts, ("", ".coords", "", ".attrs"), kind=_own_kind(value, xr.Dataset))


def _coords(value: Any) -> dict[object, object]:
    return {name: array.variable for name, array in value.coords.items()}


def _own_kind(value: Any, base: type) -> type | None:
    return None if type(value) is base else type(value)


register_type(xr.Variable, _variable, subclasses=True)
register_type(xr.DataArray, _data_array, subclasses=True)
register_type(xr.Dataset, _dataset, subclasses=True)
