"""The serializer that picks one by the type of the value, always one that cannot execute code if there is one."""

from __future__ import annotations

import sys
from typing import Final

from flowstone.exceptions import SerializationError
from flowstone.serializers.arrow import ArrowSerializer, kind_of
from flowstone.serializers.base import Dumped, Serializer
from flowstone.serializers.json import JSONSerializer, can_be_json
from flowstone.serializers.npy import NpySerializer, can_be_npy
from flowstone.serializers.pickle import PickleSerializer

_JSON: Final = JSONSerializer()
_NPY: Final = NpySerializer()
_ARROW: Final = ArrowSerializer()
_PICKLE: Final = PickleSerializer()


class AutoSerializer(Serializer):
    """Writes arrays as npy, frames as Arrow, plain data as JSON, and everything else as pickle.

    The record names the serializer that was picked. On its own, `dumps` begins with that name.
    """

    type = "auto"

    def dumps(self, obj: object) -> bytes:
        serializer, main, buffers = self.dump_for_record(obj)
        if buffers:
            main = serializer.dumps(obj)
        return b"".join((serializer.name.encode(), b"\n", main))

    def loads(self, blob: bytes) -> object:
        name, _, rest = blob.partition(b"\n")
        for serializer in (_JSON, _NPY, _ARROW, _PICKLE):
            if serializer.name.encode() == name:
                return serializer.loads(rest)
        raise SerializationError("These bytes were not written by the serializer 'auto'.")

    def dump_for_record(self, obj: object) -> Dumped:
        if can_be_json(obj):
            return _JSON.dump_for_record(obj)
        if "numpy" in sys.modules and can_be_npy(obj):
            return _NPY.dump_for_record(obj)
        if kind_of(obj) is not None:
            try:
                return _ARROW.dump_for_record(obj)
            except (SerializationError, ImportError):
                pass  # Arrow cannot say it exactly, or is not here
        return _PICKLE.dump_for_record(obj)
