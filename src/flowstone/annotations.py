"""Marks a user puts on an argument to say how it is to be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:

    class _PassesForItsValue(Any):  # type: ignore[misc]
        """A marked argument may stand for a parameter of any type; a checker allows that only of an heir of Any."""
else:
    _PassesForItsValue = object


class _Annotation(Generic[T], _PassesForItsValue):
    """Wraps one argument; `unwrap` gives it back."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        return self.value

    def rewrap(self, value: T) -> _Annotation[T]:
        """Return the same mark on another value."""
        return type(self)(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self), id(self.value)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(_Annotation[T]):
    """In `map`: give this value whole to every call."""

    __slots__ = ()


class quote(_Annotation[T]):
    """Take the value as it is: nothing inside is searched for futures or states."""

    __slots__ = ()


class opaque(_Annotation[T]):
    """Resolve the value itself if it is a future, and do not look inside."""

    __slots__ = ()


class allow_failure(_Annotation[T]):
    """Let the task run though this upstream failed; the task then gets the exception."""

    __slots__ = ()
