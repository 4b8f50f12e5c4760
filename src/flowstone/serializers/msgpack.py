"""MessagePack: the plain types that JSON has, and bytes, tuples and dicts with any plain keys besides; compact and safe."""

from __future__ import annotations

from typing import Any, Final

from flowstone.exceptions import ConfigurationError, SerializationError
from flowstone.serializers.base import Serializer

_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
_TUPLE: Final = 1
_MOST_DEEP: Final = 500


class MsgpackSerializer(Serializer):
    """Writes None, booleans, integers of 64 bits, floats, texts, bytes, and lists, tuples and dicts of these.

    All come back as exactly these types; anything else is refused. Reading cannot execute code. Needs the `msgpack`
    package (`pip install "flowstone[msgpack]"`).
    """

    type = "msgpack"
    safe = True

    def dumps(self, obj: object) -> bytes:
        _check(obj, "", 0)
        try:
            return _pack(obj)
        except (OverflowError, UnicodeEncodeError, ValueError) as error:
            raise SerializationError(f"The value cannot be written as MessagePack: {error}.") from error

    def loads(self, blob: bytes) -> object:
        return _unpack(bytes(blob))


def _library() -> Any:
    try:
        import msgpack
    except ImportError:
        raise ConfigurationError(
            'The serializer "msgpack" needs the msgpack package: pip install "flowstone[msgpack]".'
        ) from None
    return msgpack


def _pack(obj: object) -> bytes:
    packed: bytes = _library().packb(obj, default=_tuple, strict_types=True, use_bin_type=True)
    return packed


def _tuple(value: object) -> Any:
    if type(value) is not tuple:
        raise SerializationError(f"A {type(value).__name__} cannot be written as MessagePack.")
    return _library().ExtType(_TUPLE, _pack(list(value)))


def _unpack(blob: bytes) -> object:
    return _library().unpackb(blob, raw=False, strict_map_key=False, ext_hook=_extended)


def _extended(code: int, data: bytes) -> object:
    found = _unpack(data)
    if code != _TUPLE or not isinstance(found, list):
        raise SerializationError(f"There is no extension {code} of MessagePack here.")
    return tuple(found)


def _check(obj: object, path: str, depth: int) -> None:
    """Raise SerializationError for the first part of `obj` that would not come back as it was."""
    kind = type(obj)
    if kind in _ATOMS:
        return
    if depth > _MOST_DEEP:
        raise SerializationError("The value is nested too deeply, or holds itself; MessagePack cannot say that.")
    if kind is dict:
        entries: dict[object, object] = obj  # type: ignore[assignment]
        for key, value in entries.items():
            _check(key, f"{path}.keys()", depth + 1)
            _check(value, f"{path}[{key!r}]", depth + 1)
    elif kind is list or kind is tuple:
        items: list[object] = obj  # type: ignore[assignment]
        if not _ATOMS.issuperset(map(type, items)):
            for index, item in enumerate(items):
                _check(item, f"{path}[{index}]", depth + 1)
    else:
        raise SerializationError(
            f"value{path} is a {kind.__module__}.{kind.__qualname__}, which MessagePack does not give back as it was; "
            "return plain values, or use another serializer."
        )
