"""Several storages as one: fast ones in front of a slow one, which all share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from flowstone.exceptions import ConfigurationError
from flowstone.filesystems import resolve_storage
from flowstone.filesystems.base import Blob, Buffer, Stamp, Storage, WriteMode, check_key
from flowstone.filesystems.copies import Copied, Overlaid, Trusted
from flowstone.filesystems.in_front import InFront
from flowstone.filesystems.write_behind import WriteBehind

DEFAULT_WAITING_BYTES = 256 << 20


class TieredFileSystem(InFront):
    """Joins `layers`, from the fastest to the slowest, such as memory, a folder and a bucket.

    The slowest layer has the last word. Reading goes through the faster ones: each keeps copies of what lies behind
    it, and a copy counts only while the slowest layer still has the version it was made of, which is asked each time.
    So refreshes and removals by others are seen at once, and asking costs a stamp, not a blob.

    `trust_seconds`: an answer of the slowest layer is good for so long without asking again. Within that time a
    refresh by others may be missed, and a group of theirs may show in parts. `math.inf` says that records never change
    once written: whatever copy is there is good, without asking at all.

    `write_back`: `put` and `publish` return at once and write in the background, at most `max_waiting_bytes` ahead.
    This object sees its writes at once, others when they are done. `flush()` waits for them and tells of failures; it
    is called when the process ends. Flush before you let go of a lock, or hand a key to another process.

    `read_only`: nothing is ever written to the slowest layer. What is written stays in the one before, and hides the
    shared record until that changes.

    The faster layers hold copies in a form of their own. Give each tier folders that nothing else uses.
    """

    def __init__(
        self,
        *layers: Storage | str | os.PathLike[str],
        read_only: bool = False,
        write_back: bool = True,
        trust_seconds: float = 0.0,
        max_waiting_bytes: int = DEFAULT_WAITING_BYTES,
    ) -> None:
        if len(layers) < 2:
            raise ConfigurationError(f"A tiered storage needs at least two layers, fast ones first; got {len(layers)}.")
        if not trust_seconds >= 0:
            raise ConfigurationError(f"trust_seconds must not be negative, got {trust_seconds}.")
        self.layers = tuple(resolve_storage(layer) for layer in layers)
        self.read_only = read_only
        self.write_back = write_back
        self.trust_seconds = trust_seconds
        self.max_waiting_bytes = max_waiting_bytes
        super().__init__(self._stack())

    def _stack(self) -> Storage:
        *fast, top = self.layers
        trusting = self.trust_seconds == math.inf
        if 0 < self.trust_seconds < math.inf:
            top = Trusted(top, self.trust_seconds)
        if self.read_only:
            top = Overlaid(fast.pop(), top, trusting=trusting)
        for near in reversed(fast):
            top = Copied(near, top, trusting=trusting)
        if self.write_back and not self.read_only:
            top = WriteBehind(top, max_bytes=self.max_waiting_bytes)
        return top

    def __repr__(self) -> str:
        return f"TieredFileSystem({', '.join(map(repr, self.layers))})"

    def __reduce__(self) -> tuple[object, ...]:
        options = (self.read_only, self.write_back, self.trust_seconds, self.max_waiting_bytes)
        return _rebuild, (self.layers, *options)

    def get(self, key: str) -> Blob | None:
        check_key(key)
        return self.behind.get(key)

    def stamp(self, key: str) -> Stamp | None:
        check_key(key)
        return self.behind.stamp(key)

    def head(self, key: str, size: int) -> bytes | None:
        check_key(key)
        return self.behind.head(key, size)

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        check_key(key)
        return self.behind.put(key, parts, mode)

    def delete(self, key: str) -> bool:
        check_key(key)
        return self.behind.delete(key)


def _rebuild(
    layers: tuple[Storage, ...], read_only: bool, write_back: bool, trust_seconds: float, max_waiting_bytes: int
) -> TieredFileSystem:
    return TieredFileSystem(
        *layers,
        read_only=read_only,
        write_back=write_back,
        trust_seconds=trust_seconds,
        max_waiting_bytes=max_waiting_bytes,
    )
