"""Every error flowstone raises: one root, few classes.

A message says what happened, to which task or key, and what to do about it.
"""

from __future__ import annotations


class FlowstoneException(Exception):
    """The root of all errors raised by flowstone itself."""


class ConfigurationError(FlowstoneException, ValueError):
    """An option, setting or combination of them cannot work; raised at the earliest moment it can be known."""


class ReservedArgumentError(ConfigurationError, TypeError):
    """A task's function has a parameter whose name flowstone keeps for itself (`return_state`, `wait_for`)."""


class ParameterBindError(FlowstoneException, TypeError):
    """The arguments of a call do not fit the function's signature."""


class ParameterTypeError(FlowstoneException, TypeError):
    """A flow's argument does not fit its annotation."""


class MappingMissingIterable(FlowstoneException, ValueError):
    """`map` was called with nothing to map over."""


class MappingLengthMismatch(FlowstoneException, ValueError):
    """`map` was called with iterables of different lengths."""


class HashError(FlowstoneException, TypeError):
    """A value cannot be hashed by content.

    `path` leads to the culprit (`inputs['cfg'].session`), `culprit` is its type's qualified name.
    """

    def __init__(self, message: str, *, path: str = "", culprit: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.culprit = culprit

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_hash_error, (self.args[0], self.path, self.culprit)


def _rebuild_hash_error(message: str, path: str, culprit: str) -> HashError:
    return HashError(message, path=path, culprit=culprit)


class KeyPathError(FlowstoneException, ValueError):
    """A cache key cannot be the name of a record: it would leave the store, is too long, or has control characters."""


class SerializationError(FlowstoneException):
    """A value cannot be written by its serializer, or a payload cannot be read by it."""


class StoreError(FlowstoneException, OSError):
    """A store cannot be read or written."""


class RecordError(FlowstoneException):
    """A record is not one this store can trust; `reason` is the short cause a miss is reported with."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_record_error, (self.args[0], self.reason)


def _rebuild_record_error(message: str, reason: str) -> RecordError:
    return RecordError(message, reason=reason)


class LockError(FlowstoneException, RuntimeError):
    """A lock was used against its contract: released by another, or lost."""


class LockTimeout(LockError, TimeoutError):
    """A lock could not be had within the time allowed."""


class DeadlockError(LockError):
    """Waiting for this lock would never end: the holders wait for each other."""


class MissingContextError(FlowstoneException, RuntimeError):
    """Something that needs a run around it was used outside of one."""


class MissingResult(FlowstoneException):
    """A state has no result to give: it was not kept, or its record is gone."""


class UnfinishedRun(FlowstoneException):
    """A result was asked of a run that has not finished."""


class PausedRun(UnfinishedRun):
    """A result was asked of a run that is paused."""


class FailedRun(FlowstoneException):
    """A run failed without an exception of its own."""


class CrashedRun(FlowstoneException):
    """A run was ended from outside its own code."""


class CancelledRun(FlowstoneException):
    """A run was cancelled."""


class UpstreamTaskError(FlowstoneException):
    """An argument came from a run that did not complete, so the task did not start."""


class RunTimeoutError(FlowstoneException, TimeoutError):
    """A run took longer than its `timeout_seconds`."""


class TaskRunTimeoutError(RunTimeoutError):
    """A task run took longer than its `timeout_seconds`."""


class FlowRunTimeoutError(RunTimeoutError):
    """A flow run took longer than its `timeout_seconds`."""


class RollBackError(FlowstoneException):
    """One or more rollback hooks failed; the group of their errors is the cause."""


class CommitError(FlowstoneException):
    """A transaction could not publish what it holds; nothing of it is visible."""
