"""What a listing says of one record, told from its head alone."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowstone.records import Head, RecordInfo

_TEXTS: Final = ("task_name", "task_module", "task_run_id", "policy", "host", "python", "flowstone")


class RecordState(Enum):
    """What a look-up now would make of a record; the value is how a person reads it."""

    FRESH = "fresh"
    EXPIRED = "expired"
    DAMAGED = "damaged"
    HALF = "half missing"
    FOREIGN = "foreign"
    NEWER = "newer"
    UNREADABLE = "unreadable"
    STRAY = "no record"


OURS: Final = frozenset({RecordState.FRESH, RecordState.EXPIRED})
"""The states of records that are whole, as far as their heads tell, and signed with one of our keys."""


class RecordEntry:
    """One record in a listing; treat it as immutable.

    `size` is in bytes, head and payload together; `modified` and `used` are seconds since the epoch, as the storage
    has them; `detail` says why the state is not FRESH; `head` is there if it is authentic. `version` tells this
    version of the record from every other one under its key; `signer` is the name of the key it claims to be signed
    with.
    """

    __slots__ = ("_info", "detail", "head", "key", "modified", "signer", "size", "state", "used", "version")

    def __init__(
        self,
        key: str,
        size: int,
        modified: float,
        used: float,
        state: RecordState,
        detail: str,
        head: Head | None,
        version: bytes,
        signer: bytes | None = None,
    ) -> None:
        self.key = key
        self.size = size
        self.modified = modified
        self.used = used
        self.state = state
        self.detail = detail
        self.head = head
        self.version = version
        self.signer = signer
        self._info: RecordInfo | None = None

    @property
    def info(self) -> RecordInfo | None:
        """What the record says of itself; None where that cannot be trusted, or read."""
        if self._info is None and self.head is not None:
            self._info = _read_info(self.head)
        return self._info

    @property
    def created(self) -> float:
        """When it was written, in seconds since the epoch; by its own word if that can be trusted."""
        return self.modified if self.head is None else self.head.created

    @property
    def expires(self) -> float | None:
        """When it expires, in seconds since the epoch; None for never, and where that is not known."""
        return None if self.head is None else self.head.expiry

    @property
    def serializer(self) -> str:
        return "" if self.head is None else self.head.serializer

    @property
    def task_name(self) -> str:
        return "" if self.info is None else self.info.task_name

    @property
    def task_module(self) -> str:
        return "" if self.info is None else self.info.task_module

    @property
    def task(self) -> str:
        """The full name of the task that made it, `module.name`; empty if no task did or it is not known."""
        return ".".join(filter(None, (self.task_module, self.task_name)))

    @property
    def task_run_id(self) -> str:
        return "" if self.info is None else self.info.task_run_id

    @property
    def flow_run_id(self) -> str | None:
        return None if self.info is None else self.info.flow_run_id

    @property
    def policy(self) -> str:
        return "" if self.info is None else self.info.policy

    @property
    def duration(self) -> float:
        """How many seconds the computation took; 0 where that is not known."""
        return 0.0 if self.info is None else self.info.duration

    @property
    def ours(self) -> bool:
        """Whether it is signed with one of our keys and whole, as far as its head tells."""
        return self.state in OURS

    def __repr__(self) -> str:
        return f"RecordEntry({self.key!r}, {self.state.value}, {self.size} bytes)"


def _read_info(head: Head) -> RecordInfo | None:
    """Return what an authentic head says, or None if it makes no sense: another hand wrote it with one of our keys."""
    try:
        info = head.info
        numbers = 0 <= info.duration < inf and isinstance(info.serializer_version, int)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    texts = all(type(getattr(info, name)) is str for name in _TEXTS)
    return info if numbers and texts and isinstance(info.flow_run_id, (str, type(None))) else None
