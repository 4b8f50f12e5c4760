"""How values become bytes."""

from __future__ import annotations

from flowstone.serializers.base import Serializer
from flowstone.serializers.pickle import PickleSerializer
from flowstone.serializers.registry import get_serializer

__all__ = ["PickleSerializer", "Serializer", "get_serializer"]
