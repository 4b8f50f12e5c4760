"""The default serializer: pickle protocol 5 with raw buffers beside the stream, cloudpickle for what needs it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from flowstone.exceptions import SerializationError
from flowstone.serializers._gc import gc_paused
from flowstone.serializers.base import Buffer, Serializer

_PROTOCOL: Final = 5
_OUT_OF_BAND_FROM: Final = 4096
_PAUSE_GC_FROM: Final = 1 << 15
_loads: Final = pickle.loads
_dumps: Final = pickle.dumps


class PickleSerializer(Serializer):
    """Writes anything that pickle or cloudpickle can; large arrays and frames go beside the stream without a copy.

    Reading executes what the record says, so a record is read only when its tag fits.
    """

    type: ClassVar[str] = "pickle"

    def dumps(self, obj: object) -> bytes:
        return _checked(obj, None)

    def loads(self, blob: bytes) -> object:
        return self.load_parts(blob, ())

    def dump_parts(self, obj: object) -> tuple[Buffer, Sequence[memoryview]]:
        buffers: list[memoryview] = []

        def keep_beside(buffer: pickle.PickleBuffer) -> bool:
            try:
                view = buffer.raw()
            except BufferError:
                return True  # not contiguous: only the stream can hold it
            if view.nbytes < _OUT_OF_BAND_FROM:
                return True
            buffers.append(view)
            return False

        main = _checked(obj, keep_beside)
        return main, buffers

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        if len(main) < _PAUSE_GC_FROM:
            return _loads(main, buffers=buffers)
        with gc_paused:
            return _loads(main, buffers=buffers)


def _checked(obj: object, keep_beside: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    try:
        return _dumps(obj, _PROTOCOL, buffer_callback=keep_beside)
    except Exception as error:
        raise SerializationError(f"{type(obj).__qualname__} cannot be pickled: {error}") from error
