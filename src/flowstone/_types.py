"""Small types that every floor may use."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, Literal, TypeAlias


class _NotSet(Enum):
    """The type of `NotSet`: the option was not given, which is not the same as None."""

    NOT_SET = "NotSet"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "NotSet"


NotSet: Final = _NotSet.NOT_SET
NotSetType: TypeAlias = Literal[_NotSet.NOT_SET]

RetryDelay: TypeAlias = "float | Iterable[float]"
