"""NumPy arrays in NumPy's own format, the memory of the array as a raw buffer beside the header."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from flowstone.exceptions import SerializationError
from flowstone.serializers.base import Buffer, Serializer

if TYPE_CHECKING:
    import numpy as np

_PLAIN_KINDS: Final = "biufcmMSUV"


class NpySerializer(Serializer):
    """Writes a `numpy.ndarray` of any type but objects; its memory order comes back too. Reading executes nothing."""

    type = "npy"
    safe = True

    def dumps(self, obj: object) -> bytes:
        main, buffers = self.dump_parts(obj)
        return b"".join((main, *buffers))

    def loads(self, blob: bytes) -> object:
        file = BytesIO(blob)
        _read_header(file)
        end = file.tell()
        return self.load_parts(blob[:end], [bytearray(blob[end:])])

    def dump_parts(self, obj: object) -> tuple[Buffer, Sequence[memoryview]]:
        import numpy as np

        array = _checked(obj)
        if not (array.flags.c_contiguous or array.flags.f_contiguous):
            array = np.ascontiguousarray(array)
        header = BytesIO()
        np.lib.format.write_array_header_2_0(header, np.lib.format.header_data_from_array_1_0(array))
        raw: Any = array.ravel(order="K").view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
        return header.getvalue(), [memoryview(raw)]

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        import numpy as np

        shape, fortran, dtype = _read_header(BytesIO(main))
        if not _is_plain(dtype):
            raise SerializationError(f"An array of {dtype} is not plain numbers and texts.")
        array: Any = np.ndarray(shape, dtype, buffers[0], order="F" if fortran else "C")
        return array


def can_be_npy(obj: object) -> bool:
    """Say whether `obj` is an array that the format gives back as it was."""
    import numpy as np

    return type(obj) is np.ndarray and _is_plain(obj.dtype)


def _checked(obj: object) -> np.ndarray[Any, Any]:
    import numpy as np

    if type(obj) is not np.ndarray:
        raise SerializationError(
            f"A {type(obj).__qualname__} cannot be written with the serializer 'npy', which writes numpy arrays."
        )
    if not _is_plain(obj.dtype):
        raise SerializationError(f"An array of {obj.dtype} cannot be written with the serializer 'npy'; use 'pickle'.")
    return obj


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Say whether the header can describe the type exactly: no objects, no metadata, no alignment."""
    import numpy as np

    if dtype.hasobject or dtype.kind not in _PLAIN_KINDS or dtype.metadata:
        return False
    again = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype))
    return again == dtype and again.isalignedstruct == dtype.isalignedstruct and again.byteorder == dtype.byteorder


def _read_header(file: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    import numpy as np

    version = np.lib.format.read_magic(file)
    if version != (2, 0):
        raise SerializationError(f"An array header of version {version} is not one of ours.")
    return np.lib.format.read_array_header_2_0(file)
