"""What holds for one call: the task's own options, what it inherits, and the settings, in that order.

Worked out once for each combination that occurs and kept on the task, since it rarely changes between calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstone._types import NotSet
from flowstone.cache_policies import DEFAULT, NONE, CachePolicy, FlowParameters, Inputs
from flowstone.context import FlowRunContext, TaskRunContext
from flowstone.results import ResultStore, default_store
from flowstone.warn import warn_once

if TYPE_CHECKING:
    from flowstone.settings import Settings


_NAMELESS = (Inputs, FlowParameters)


class CallOptions:
    """The options of one call with nothing left open.

    `policy` is None where nothing is to be cached; `shares_keys` says that its keys do not tell one task from another.
    """

    __slots__ = (
        "asked_by",
        "log_prints",
        "persist",
        "policy",
        "refresh",
        "retries",
        "retry_delays",
        "shares_keys",
        "store",
    )

    def __init__(
        self,
        asked_by: tuple[Any, ...],
        *,
        policy: CachePolicy | None,
        persist: bool,
        store: ResultStore | None,
        refresh: bool,
        log_prints: bool,
        retries: int,
        retry_delays: tuple[float, ...],
    ) -> None:
        self.asked_by = asked_by
        self.policy = policy
        self.shares_keys = policy is not None and all(isinstance(one, _NAMELESS) for one in policy.ingredients)
        self.persist = persist
        self.store = store
        self.refresh = refresh
        self.log_prints = log_prints
        self.retries = retries
        self.retry_delays = retry_delays


def options_of(
    task: Any, settings: Settings, flow: FlowRunContext | None, parent: TaskRunContext | None
) -> CallOptions:
    """Return what holds for a call of `task` here and now."""
    outer = parent or flow
    inherited_persist = None if outer is None else outer.persist_result
    inherited_store = None if outer is None else outer.result_store
    inherited_prints = None if flow is None else flow.log_prints
    known: CallOptions | None = task.known_options
    if known is not None:
        by = known.asked_by
        if by[0] is settings and by[1] is inherited_persist and by[2] is inherited_store and by[3] is inherited_prints:
            return known
    asked_by = (settings, inherited_persist, inherited_store, inherited_prints)
    task.known_options = found = _work_out(task, settings, asked_by)
    return found


def _work_out(task: Any, settings: Settings, asked_by: tuple[Any, ...]) -> CallOptions:
    _, inherited_persist, inherited_store, inherited_prints = asked_by
    persist = _persists(task, settings, inherited_persist)
    policy = _policy(task, settings, persist)
    store = _store(task, settings, inherited_store, policy) if policy is not None else None
    delays = (
        task.retry_delay_seconds if task.retry_delay_seconds is not None else settings.tasks.default_retry_delay_seconds
    )
    retries = task.retries if task.retries is not None else settings.tasks.default_retries
    return CallOptions(
        asked_by,
        policy=policy,
        persist=policy is not None,
        store=store,
        refresh=settings.tasks.refresh_cache if task.refresh_cache is None else task.refresh_cache,
        log_prints=_first_told(task.log_prints, inherited_prints, settings.logging.log_prints),
        retries=retries,
        retry_delays=delays_of(delays, retries),
    )


def delays_of(given: Any, retries: int) -> tuple[float, ...]:
    """Return the delays before each retry in seconds, from a number, a list, or a function of the number of retries."""
    if callable(given):
        given = given(retries)
    if isinstance(given, int | float):
        return (float(given),) if given else ()
    return tuple(float(delay) for delay in given or ())


def _first_told(*told: bool | None) -> bool:
    return next((value for value in told if value is not None), False)


def _persists(task: Any, settings: Settings, inherited: bool | None) -> bool:
    if settings.tasks.disable_caching or task.persist_result is False:
        return False
    if task.persist_result or task.implies_persistence:
        return True
    return _first_told(
        settings.tasks.default_persist_result,
        inherited,
        settings.results.default_storage is not None or None,
        settings.results.persist_by_default,
    )


def _policy(task: Any, settings: Settings, persist: bool) -> CachePolicy | None:
    if not persist:
        return None
    policy = task.key_policy
    if policy is NotSet:
        policy = NONE if settings.tasks.default_no_cache else DEFAULT
    if policy is None or not policy.ingredients:
        return None
    return policy  # type: ignore[no-any-return]


def _store(task: Any, settings: Settings, inherited: ResultStore | None, policy: CachePolicy) -> ResultStore:
    base = inherited or default_store(settings)
    return base.update_for_task(task) if task.has_result_options or _has_storage(policy) else base


def _has_storage(policy: CachePolicy) -> bool:
    return policy.key_storage is not None or policy.lock_manager is not None


def warn_of_contradiction(task: Any) -> None:
    """Say once that a task asks for a cache and forbids it."""
    if task.persist_result is False and task.implies_persistence:
        warn_once(
            ("contradiction", task.task_key),
            f"Task {task.name!r}: persist_result=False, so its cache options are ignored and every call runs.",
        )
