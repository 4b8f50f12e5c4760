"""JAX arrays, by dtype, shape and elements; the device and the sharding make no difference."""

from __future__ import annotations

from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import numpy as np

from flowstone.hashing.arrays import array_digest
from flowstone.hashing.form import Node, Refused
from flowstone.hashing.registry import register_type


def _array(value: Any) -> Node:
    if not value.is_fully_addressable:
        raise Refused(type(value), "parts of it lie on other hosts")
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return Node("jax key", (str(jax.random.key_impl(value)), jax.random.key_data(value)))
    weak = bool(getattr(value, "weak_type", False))
    return Node("jax array", (str(value.dtype), value.shape, weak, array_digest(np.asarray(value))))


def _tracer(value: Any) -> Node:
    raise Refused(type(value), "it stands for a value that is not known while JAX traces")


for _name in ("jaxlib._jax.ArrayImpl", "jaxlib.xla_extension.ArrayImpl", "jax._src.array.ArrayImpl"):
    register_type(_name, _array)
register_type("jax._src.prng.PRNGKeyArray", _array)
register_type("jax._src.core.Tracer", _tracer, subclasses=True)
