"""The words a transaction is described by."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from flowstone.exceptions import ConfigurationError

M = TypeVar("M", bound="_Mode")


class _Mode(str, Enum):  # noqa: UP042 - str() gives the member's full name, as people know it
    @classmethod
    def of(cls: type[M], given: M | str) -> M:
        """Return the member that `given` names; raises ConfigurationError for anything else."""
        try:
            return cls(given.upper() if isinstance(given, str) and not isinstance(given, cls) else given)
        except (ValueError, AttributeError):
            accepted = ", ".join(repr(member.value) for member in cls)
            raise ConfigurationError(f"{given!r} is not a {cls.__name__}; use one of {accepted}.") from None


class IsolationLevel(_Mode):
    """READ_COMMITTED lets equal calls race, the last write wins; SERIALIZABLE makes one key run once at a time."""

    READ_COMMITTED = "READ_COMMITTED"
    SERIALIZABLE = "SERIALIZABLE"


class CommitMode(_Mode):
    """EAGER commits at the end of its own block, LAZY with the outermost one, OFF not unless told to."""

    EAGER = "EAGER"
    LAZY = "LAZY"
    OFF = "OFF"


class TransactionState(_Mode):
    """Where a transaction stands."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"
