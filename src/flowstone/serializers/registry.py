"""Serializers by name: the ones that come with flowstone, loaded on first use, and those that users register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flowstone.exceptions import ConfigurationError
from flowstone.serializers.base import Serializer
from flowstone.serializers.pickle import PickleSerializer

_PREFIX: Final = "compressed/"


def _json() -> Serializer:
    from flowstone.serializers.json import JSONSerializer  # json is heavy, and most records are pickles

    return JSONSerializer()


def _npy() -> Serializer:
    from flowstone.serializers.npy import NpySerializer

    return NpySerializer()


def _arrow() -> Serializer:
    from flowstone.serializers.arrow import ArrowSerializer

    return ArrowSerializer()


def _msgpack() -> Serializer:
    from flowstone.serializers.msgpack import MsgpackSerializer

    return MsgpackSerializer()


def _auto() -> Serializer:
    from flowstone.serializers.auto import AutoSerializer

    return AutoSerializer()


_MAKERS: Final[dict[str, Callable[[], Serializer]]] = {
    "pickle": PickleSerializer,
    "json": _json,
    "npy": _npy,
    "arrow": _arrow,
    "msgpack": _msgpack,
    "auto": _auto,
}
_known: Final[dict[str, Serializer]] = {"pickle": PickleSerializer()}


def register_serializer(serializer: Serializer) -> None:
    """Make `serializer` known by its name to everyone in this process, also as "compressed/<name>".

    Raises ConfigurationError if the name is taken by a serializer of another class.
    """
    name = serializer.name
    taken = name in _MAKERS or (name in _known and type(_known[name]) is not type(serializer))
    if taken or not name or "/" in name or len(name.encode()) > 200:
        raise ConfigurationError(
            f"A serializer cannot be registered as {name!r}: the name is taken or not a plain word."
        )
    _known[name] = serializer


def get_serializer(spec: str | Serializer) -> Serializer:
    """Return the serializer of that name; an object is returned as it is. Raises ConfigurationError for other names."""
    if isinstance(spec, Serializer):
        return spec
    if not isinstance(spec, str):
        raise ConfigurationError(f"A serializer is an object or a name, got {spec!r}.")
    found = _known.get(spec)
    if found is None:
        found = _known[spec] = _make(spec)
    return found


def known_serializers() -> list[str]:
    """Return the names that can be given, in alphabetical order."""
    plain = {*_MAKERS, *(name for name in _known if "/" not in name)}
    return sorted(plain | {_PREFIX + name for name in plain})


def _make(name: str) -> Serializer:
    if name in _MAKERS:
        return _MAKERS[name]()
    inner = name.removeprefix(_PREFIX)
    if inner != name and inner in {*_MAKERS, *_known} and not inner.startswith(_PREFIX):
        from flowstone.serializers.compression import CompressedSerializer

        return CompressedSerializer(get_serializer(inner))
    raise _unknown(name)


def _unknown(name: str) -> ConfigurationError:
    import difflib  # only to help somebody who mistyped

    close = difflib.get_close_matches(name, known_serializers(), 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return ConfigurationError(f"There is no serializer {name!r}{hint} Known are {', '.join(known_serializers())}.")
