"""The contract of a serializer: how a value becomes bytes and comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview


class Serializer(ABC):
    """Turns values into bytes and back.

    Obligations, which the contract suite checks on every implementation:

    - `loads(dumps(x))` equals `x` and has the same type at every depth, or `dumps` raises SerializationError that names
      what cannot be written and where it is. Nothing in between.
    - `dumps` is a snapshot: what happens to the value later does not reach the bytes. `loads` gives a value of the
      caller's own each time.
    - What is inside a user's data is never taken for markup.
    - `load_parts` of a `safe` serializer executes nothing, whatever the bytes.
    """

    type: str
    """The name in settings and records; a record is read by the serializer that it names."""

    version: int = 1
    """Counts up when the bytes change in a way that older code cannot read."""

    safe: bool = False
    """Whether reading hostile bytes cannot execute code."""

    @property
    def name(self) -> str:
        """Return the name that goes into records; a serializer that wraps another says both."""
        return self.type

    @abstractmethod
    def dumps(self, obj: object) -> bytes:
        """Return `obj` as bytes."""

    @abstractmethod
    def loads(self, blob: bytes) -> object:
        """Return the value that `dumps` wrote."""

    def dump_parts(self, obj: object) -> tuple[Buffer, Sequence[memoryview]]:
        """Return a main part and the raw buffers beside it, which may still be the live memory of `obj`."""
        return self.dumps(obj), ()

    def load_parts(self, main: Buffer, buffers: Sequence[Buffer]) -> object:
        """Return the value that `dump_parts` wrote; it may keep the memory of `buffers`, which is its own."""
        return self.loads(bytes(main))

    def dump_for_record(self, obj: object) -> Dumped:
        """Return the parts for a record and the serializer that is to read them, which may be another than this."""
        main, buffers = self.dump_parts(obj)
        return Dumped(self, main, buffers)


class Dumped(NamedTuple):
    """What goes into a record, and the serializer that the record names."""

    serializer: Serializer
    main: Buffer
    buffers: Sequence[memoryview]
