"""How values become bytes: the serializers people name in options and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowstone.serializers.base import Dumped, Serializer
from flowstone.serializers.pickle import PickleSerializer
from flowstone.serializers.registry import get_serializer, known_serializers, register_serializer

if TYPE_CHECKING:
    from flowstone.serializers.arrow import ArrowSerializer
    from flowstone.serializers.auto import AutoSerializer
    from flowstone.serializers.compression import (
        CompressedJSONSerializer,
        CompressedPickleSerializer,
        CompressedSerializer,
    )
    from flowstone.serializers.json import JSONSerializer
    from flowstone.serializers.msgpack import MsgpackSerializer
    from flowstone.serializers.npy import NpySerializer

__all__ = [
    "ArrowSerializer",
    "AutoSerializer",
    "CompressedJSONSerializer",
    "CompressedPickleSerializer",
    "CompressedSerializer",
    "Dumped",
    "JSONSerializer",
    "MsgpackSerializer",
    "NpySerializer",
    "PickleSerializer",
    "Serializer",
    "get_serializer",
    "known_serializers",
    "register_serializer",
]

_LATER = {
    "ArrowSerializer": "arrow",
    "AutoSerializer": "auto",
    "CompressedJSONSerializer": "compression",
    "CompressedPickleSerializer": "compression",
    "CompressedSerializer": "compression",
    "JSONSerializer": "json",
    "MsgpackSerializer": "msgpack",
    "NpySerializer": "npy",
}


def __getattr__(name: str) -> object:
    """Load the less common serializers when they are first asked for: most programs never pay for them."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
