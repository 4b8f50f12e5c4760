"""Pickling what lives only in this process: lambdas, local classes and functions, by value through cloudpickle.

cloudpickle also writes some things that come back as another type; those are refused, since a record gives back what
was recorded or nothing.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

import cloudpickle  # type: ignore[import-untyped]

from flowstone.exceptions import SerializationError
from flowstone.serializers._main import is_found_in_main, revive, revived_class

_LIVE: Final = (io.IOBase, memoryview)
_IN_MEMORY: Final = (io.BytesIO, io.StringIO)


class PortablePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, except that what the program itself defines is written by name."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _LIVE) and not isinstance(obj, _IN_MEMORY):
            raise SerializationError(f"{type(obj).__qualname__} is open or borrowed and cannot outlive the process")
        if isinstance(obj, type | FunctionType):
            if is_found_in_main(obj):
                return NotImplemented
            if isinstance(obj, type) and (definition := revived_class(obj)) is not None:
                return revive, definition
        return super().reducer_override(obj)


def portable_dumps(obj: object, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    """Return `obj` pickled by value where it must be."""
    file = io.BytesIO()
    PortablePickler(file, 5, buffer_callback).dump(obj)
    return file.getvalue()
