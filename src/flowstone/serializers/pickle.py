"""The default serializer: pickle protocol 5 with raw buffers beside the stream, cloudpickle for what needs it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from types import ModuleType
from typing import Final

from flowstone.exceptions import ConfigurationError
from flowstone.serializers._culprit import cannot_write
from flowstone.serializers._gc import gc_paused
from flowstone.serializers.base import Buffer, Serializer

_PROTOCOL: Final = 5
_BESIDE_FROM: Final = 4096
"""Smaller buffers stay in the stream: a piece of its own costs more than copying them."""

_PAUSE_GC_FROM: Final = 1 << 15
_SECRETS: Final = b"_flowstone_keyring_from_secrets"
_MAIN: Final = b"__main__"
_MP_MAIN: Final = b"__mp_main__"
_APPENDIX: Final = b"FLSmain\x01"
_LIBRARIES: Final = ("cloudpickle", "pickle")

_Callback = Callable[[pickle.PickleBuffer], bool] | None
_loads: Final = pickle.loads
_dumps: Final = pickle.dumps


class PickleSerializer(Serializer):
    """Writes whatever pickle or cloudpickle can; large arrays and frames go beside the stream without a copy.

    With `picklelib="pickle"` cloudpickle is not tried. Reading executes what the bytes say: only records whose tag fits
    get that far.
    """

    type = "pickle"

    def __init__(self, picklelib: str = "cloudpickle") -> None:
        if picklelib not in _LIBRARIES:
            raise ConfigurationError(f"picklelib is one of {', '.join(map(repr, _LIBRARIES))}, got {picklelib!r}.")
        self.picklelib = picklelib

    def dumps(self, obj: object) -> bytes:
        return self._stream(obj, [])

    def loads(self, blob: bytes) -> object:
        return self.load_parts(blob, ())

    def dump_parts(self, obj: object) -> tuple[Buffer, Sequence[memoryview]]:
        buffers: list[memoryview] = []

        def keep_in_stream(buffer: pickle.PickleBuffer) -> bool:
            view = buffer.raw()
            if view.nbytes < _BESIDE_FROM:
                return True
            buffers.append(view)
            return False

        return self._stream(obj, buffers, keep_in_stream), buffers

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        if main[-len(_APPENDIX) :] == _APPENDIX:
            from flowstone.serializers._main import load_with_appendix  # few records are of classes of a script

            return load_with_appendix(main, len(_APPENDIX), buffers)
        if len(main) < _PAUSE_GC_FROM:
            return _loads(main, buffers=buffers)
        with gc_paused:
            return _loads(main, buffers=buffers)

    def _stream(self, obj: object, buffers: list[memoryview], keep_in_stream: _Callback = None) -> bytes:
        """Pickle `obj`; the buffers that `keep_in_stream` declines are in `buffers` afterwards."""
        if isinstance(obj, ModuleType):
            raise cannot_write(self.name, obj, "a module is code, not a value; return its name")
        try:
            stream = _plain(obj, keep_in_stream)
        except Exception as error:
            buffers.clear()
            stream = self._second_try(obj, keep_in_stream, error)
        if _SECRETS in stream:
            raise cannot_write(self.name, obj, "it holds the secrets of a keyring or a result store")
        if _MAIN in stream or _MP_MAIN in stream:
            from flowstone.serializers._main import appendix  # brings cloudpickle

            stream += appendix(stream) + _APPENDIX
        return stream

    def _second_try(self, obj: object, keep_in_stream: _Callback, first_error: Exception) -> bytes:
        """Pickle what plain pickle refuses, such as lambdas and local classes."""
        if self.picklelib == "pickle":
            raise cannot_write(self.name, obj, first_error, self._can_write) from first_error
        from flowstone.serializers._portable import portable_dumps  # brings cloudpickle

        try:
            return portable_dumps(obj, keep_in_stream)
        except Exception as error:
            raise cannot_write(self.name, obj, error, self._can_write) from error

    def _can_write(self, obj: object) -> bool:
        from flowstone.serializers._portable import portable_dumps

        dump = _plain if self.picklelib == "pickle" else portable_dumps
        try:
            dump(obj, lambda _: False)
        except Exception:  # whatever it is: that is the answer
            return False
        return True


def _plain(obj: object, keep_in_stream: _Callback) -> bytes:
    if "polars" in sys.modules:
        from flowstone.serializers._frames import polars_reducers  # only where there is polars

        if reducers := polars_reducers(obj):
            file = BytesIO()
            pickler = pickle.Pickler(file, _PROTOCOL, buffer_callback=keep_in_stream)
            pickler.dispatch_table = reducers
            pickler.dump(obj)
            return file.getvalue()
    return _dumps(obj, _PROTOCOL, buffer_callback=keep_in_stream)
