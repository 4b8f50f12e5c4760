"""torch tensors, by dtype, shape and elements; the device and the layout in memory make no difference."""

from __future__ import annotations

from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from flowstone.hashing.arrays import array_digest
from flowstone.hashing.form import Node, Refused, State
from flowstone.hashing.registry import register_type

_SAME_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_BASES = (torch.Tensor, torch.nn.Parameter)


def _tensor(value: Any) -> Node:
    kind = type(value)
    if value.is_meta:
        raise Refused(kind, "it is on the meta device and has no elements")
    if value.is_quantized or value.is_nested:
        raise Refused(kind, "it is quantized or nested; pass what it is made of")
    plain = value.detach()
    grad = value.grad if value.is_leaf else None
    parts = (str(value.dtype), tuple(value.shape), value.requires_grad, grad, *_elements(plain), State(value.__dict__))
    names = ("", "", "", ".grad", "", "", "")
    return Node("torch tensor", parts, names, kind=None if kind is torch.Tensor else kind)


def _elements(plain: Any) -> tuple[object, object]:
    """How the elements lie, as far as a program can tell, and the elements."""
    if plain.layout == torch.sparse_coo:
        plain = plain.coalesce()
        return "coo", [plain.indices(), plain.values()]
    if plain.layout in (torch.sparse_csr, torch.sparse_bsr):
        return str(plain.layout), [plain.crow_indices(), plain.col_indices(), plain.values()]
    if plain.layout in (torch.sparse_csc, torch.sparse_bsc):
        return str(plain.layout), [plain.ccol_indices(), plain.row_indices(), plain.values()]
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    return "", array_digest(_as_array(plain.cpu().resolve_conj().resolve_neg()))


def _as_array(plain: Any) -> Any:
    """A numpy view; of types numpy has not, as integers of the same width."""
    try:
        return plain.numpy()
    except TypeError:
        return plain.view(_SAME_WIDTH[plain.element_size()]).numpy()


register_type(torch.Tensor, _tensor, subclasses=True)
