"""Compression around another serializer."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from flowstone.exceptions import ConfigurationError, SerializationError
from flowstone.serializers.base import Buffer, Serializer
from flowstone.serializers.json import JSONSerializer
from flowstone.serializers.pickle import PickleSerializer

LIBRARIES: Final = ("zstd", "zlib", "bz2", "lzma")
_SIZES: Final = struct.Struct("<Q")


class CompressedSerializer(Serializer):
    """Compresses what another serializer writes, with "zstd", "zlib", "bz2" or "lzma".

    Without a choice it is zstd where the package zstandard is installed, else zlib. The bytes say which it was, so
    every reader that has it can read them.
    """

    type = "compressed"

    def __init__(self, serializer: Serializer | str = "pickle", compressionlib: str | None = None) -> None:
        self.serializer = _inner(serializer)
        self.compressionlib = compressionlib or _default_library()
        if self.compressionlib not in LIBRARIES:
            raise ConfigurationError(
                f"compressionlib is one of {', '.join(map(repr, LIBRARIES))}, got {compressionlib!r}."
            )
        self.safe = self.serializer.safe
        self.version = self.serializer.version

    @property
    def name(self) -> str:
        return f"compressed/{self.serializer.name}"

    def dumps(self, obj: object) -> bytes:
        main, buffers = self.serializer.dump_parts(obj)
        pieces = (main, *buffers)
        table = _SIZES.pack(len(pieces)) + b"".join(_SIZES.pack(memoryview(piece).nbytes) for piece in pieces)
        return b"".join((self.compressionlib.encode(), b"\n", *_compressed(self.compressionlib, (table, *pieces))))

    def loads(self, blob: bytes) -> object:
        return self.load_parts(blob, ())

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        library, _, _ = bytes(main[:8]).partition(b"\n")
        whole = memoryview(_decompress(library.decode("ascii"), memoryview(main)[len(library) + 1 :]))
        (count,) = _SIZES.unpack_from(whole)
        sizes = [_SIZES.unpack_from(whole, 8 * (1 + index))[0] for index in range(count)]
        inner_main, *inner_buffers = _cut(whole[8 * (1 + count) :], sizes)
        return self.serializer.load_parts(inner_main, [bytearray(buffer) for buffer in inner_buffers])


class CompressedPickleSerializer(CompressedSerializer):
    """Compressed pickle."""

    def __init__(self, compressionlib: str | None = None) -> None:
        super().__init__(PickleSerializer(), compressionlib)


class CompressedJSONSerializer(CompressedSerializer):
    """Compressed JSON."""

    def __init__(self, compressionlib: str | None = None) -> None:
        super().__init__(JSONSerializer(), compressionlib)


def _inner(serializer: Serializer | str) -> Serializer:
    if isinstance(serializer, Serializer):
        return serializer
    plain: dict[str, Callable[[], Serializer]] = {"pickle": PickleSerializer, "json": JSONSerializer}
    if serializer not in plain:
        raise ConfigurationError(f"Give CompressedSerializer a serializer object, or one of {sorted(plain)}.")
    return plain[serializer]()


def _cut(data: memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    position = 0
    for size in sizes:
        yield data[position : position + size]
        position += size


def _default_library() -> str:
    try:
        import zstandard  # noqa: F401 - an extra
    except ImportError:
        return "zlib"
    return "zstd"


def _compressed(library: str, pieces: Iterable[Buffer]) -> Iterator[bytes]:
    compressor = _compressor(library)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _compressor(library: str) -> Any:
    if library == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compressobj()
    if library == "zlib":
        import zlib

        return zlib.compressobj()
    if library == "bz2":
        import bz2

        return bz2.BZ2Compressor()
    import lzma

    return lzma.LZMACompressor()


def _decompress(library: str, data: memoryview) -> bytes:
    if library == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if library == "zlib":
        import zlib

        return zlib.decompress(data)
    if library == "bz2":
        import bz2

        return bz2.decompress(data)
    if library == "lzma":
        import lzma

        return lzma.decompress(data)
    raise SerializationError(f"The compression {library!r} is not known here.")
