"""From a result to a staged record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstone.exceptions import SerializationError
from flowstone.records import RecordInfo
from flowstone.transactions import Transaction
from flowstone.warn import warn_once

if TYPE_CHECKING:
    from flowstone.engine.task_run import TaskCall


def keep_result(call: TaskCall, node: Transaction, value: Any, items: int | None = None) -> None:
    """Stage a snapshot of `value` under the key of `node`.

    A value that cannot be written is reported: to the user's own transaction, which then cannot commit, or else by one
    warning, since the task itself succeeded.
    """
    store = node.store
    assert store is not None
    try:
        hold = node.parent is not None or bool(node.on_commit_hooks)  # others may touch the value before it is written
        node.keep(store.stage(_info(call, items), value, hold=hold))
    except SerializationError as error:
        if _belongs_to_users_transaction(node):
            node.trouble = error
        else:
            warn_once(
                ("serialize", call.task.task_key),
                f"The result of task {call.task.name!r} is returned but was not recorded: {error}",
            )


def _belongs_to_users_transaction(node: Transaction) -> bool:
    around = node.parent
    while around is not None:
        if around.explicit:
            return True
        around = around.parent
    return False


def _info(call: TaskCall, items: int | None) -> RecordInfo:
    plan, task, run = call.plan, call.task, call.run
    assert plan is not None
    assert plan.key is not None
    now = call.clock.now()
    lifetime = task.expiration_seconds
    return RecordInfo(
        key=plan.key,
        created=now,
        expires=None if lifetime is None else now + lifetime,
        task_name=task.name,
        task_module=task.fn_module,
        task_run_id=run.id,
        flow_run_id=run.flow_run_id,
        duration=call.seconds,
        parts=plan.parts,
        policy=repr(plan.policy),
        items=items,
    )
