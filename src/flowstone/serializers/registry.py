"""Serializers by name."""

from __future__ import annotations

from flowstone.exceptions import ConfigurationError
from flowstone.serializers.base import Serializer
from flowstone.serializers.pickle import PickleSerializer

_registry: dict[str, Serializer] = {"pickle": PickleSerializer()}


def get_serializer(spec: str | Serializer) -> Serializer:
    """Return the serializer of that name."""
    if isinstance(spec, Serializer):
        return spec
    found = _registry.get(spec)
    if found is None:
        raise ConfigurationError(f"There is no serializer {spec!r}.")
    return found
