"""The tree of transactions against a small model: blocks of every mode, tasks that hit, run and fail, undo, values."""

from __future__ import annotations

import contextlib
import os
from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowstone import task
from flowstone.context import NO_SCOPE, current_scope
from flowstone.testing import temporary_store
from flowstone.transactions import Transaction, transaction

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))
KEYS = st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["x", "y"])
SELDOM = st.sampled_from([False, False, False, True])
MODES = st.sampled_from([None, "EAGER", "LAZY", "OFF"])

_numbers = count()


class Node:
    """The model of a transaction: what the contract says, with none of how it is done."""

    def __init__(self, label: str, parent: Node | None, mode: str | None, key: str | None, is_block: bool) -> None:
        self.label = label
        self.parent = parent
        self.mode = mode or (parent.mode if parent else "LAZY")
        self.key = key
        self.is_block = is_block
        self.staged: object = None
        self.has_staged = False
        self.state = "ACTIVE"
        self.children: list[Node] = []
        self.values: dict[str, object] = {}

    @property
    def final(self) -> bool:
        return self.state in ("COMMITTED", "ROLLED_BACK")

    def known(self, key: str) -> list[object]:
        """The values under `key` that are staged in this tree, in the order they became visible here."""
        found = [value for child in self.children for value in child.known(key)]
        if self.has_staged and self.key == key and not self.final:
            found.append(self.staged)
        return found

    def members(self) -> list[Node]:
        if self.state == "ROLLED_BACK":
            return []
        return [m for child in self.children for m in child.members()] + ([] if self.final else [self])

    def to_undo(self) -> list[Node]:
        mine = [] if self.final else [self]
        return mine + [node for child in reversed(self.children) for node in child.to_undo()]


class Model:
    def __init__(self) -> None:
        self.store: dict[str, object] = {}
        self.log: list[tuple[str, str]] = []
        self.open: list[Node] = []

    @property
    def top(self) -> Node | None:
        return self.open[-1] if self.open else None

    def lookup(self, key: str) -> object:
        """What a call with this key is served, or `...` if it runs."""
        for node in reversed(self.open):
            staged = node.known(key)
            if staged:
                return staged[-1]
        return self.store.get(key, ...)

    def commit(self, node: Node) -> bool:
        members = node.members()
        if not members:
            return False
        self.settle(node)
        self.log += [("commit", member.label) for member in members]
        for member in members:
            if member.has_staged and member.key:
                self.store[member.key] = member.staged
            member.state = "COMMITTED"
        return True

    def rollback(self, node: Node) -> bool:
        now = not node.final
        for member in node.to_undo():
            member.state = "ROLLED_BACK"
            self.log.append(("undo", member.label))
        return now

    def settle(self, node: Node) -> None:
        """A keyed block that staged nothing records None."""
        if node.is_block and node.key and not node.final and not node.has_staged:
            node.has_staged, node.staged = True, None

    def end(self, node: Node, failed: bool = False) -> None:
        if failed or node.state == "ROLLED_BACK":
            self.rollback(node)
        elif node.mode == "EAGER":
            self.commit(node)
        elif node.parent is not None:
            self.settle(node)
            if not node.final:
                node.state = "STAGED"
            node.parent.children.append(node)
        elif node.mode == "LAZY":
            self.commit(node)
        else:
            self.rollback(node)


class Transactions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.store = self.stack.enter_context(temporary_store())
        self.model = Model()
        self.real: list[Transaction] = []
        self.log: list[tuple[str, str]] = []

    def hooks(self, label: str) -> dict[str, list]:
        return {
            "on_commit": [lambda txn: self.log.append(("commit", label))],
            "on_rollback": [lambda txn: self.log.append(("undo", label))],
        }

    # --- blocks

    @precondition(lambda self: len(self.real) < 4)
    @rule(mode=MODES, key=st.none() | KEYS, overwrite=st.booleans())
    def open_a_block(self, mode, key, overwrite):
        label = f"block {next(_numbers)}"
        node = Node(label, self.model.top, mode, key, True)
        if key and not overwrite and self.model.lookup(key) is not ...:
            node.state = "COMMITTED"
        txn = transaction(key=key, commit_mode=mode, overwrite=overwrite)
        txn.__enter__()
        hooks = self.hooks(label)
        txn.on_commit_hooks += hooks["on_commit"]
        txn.on_rollback_hooks += hooks["on_rollback"]
        assert txn.is_committed() == (node.state == "COMMITTED")
        if txn.is_committed():
            assert txn.read().result == self.model.lookup(key)
        self.real.append(txn)
        self.model.open.append(node)

    @precondition(lambda self: self.real)
    @rule(fails=SELDOM)
    def leave_the_block(self, fails):
        txn, node = self.real.pop(), self.model.open.pop()
        error = ValueError("leaves the block") if fails else None
        txn.__exit__(type(error) if error else None, error, None)
        self.model.end(node, fails)
        assert txn.state.value == node.state

    @precondition(lambda self: self.real)
    @rule(value=st.integers())
    def stage_a_value(self, value):
        txn, node = self.real[-1], self.model.open[-1]
        txn.stage(value)
        if not node.final:
            node.state = "STAGED"
            node.staged, node.has_staged = value, node.key is not None

    @precondition(lambda self: self.real)
    @rule(depth=st.integers(0, 3))
    def commit_by_hand(self, depth):
        index = max(0, len(self.real) - 1 - depth)
        assert self.real[index].commit() == self.model.commit(self.model.open[index])

    @precondition(lambda self: self.real)
    @rule(depth=st.integers(0, 3))
    def roll_back_by_hand(self, depth):
        index = max(0, len(self.real) - 1 - depth)
        assert self.real[index].rollback() == self.model.rollback(self.model.open[index])

    # --- tasks

    def call(self, key, fails=False, refresh=False, inside=lambda: None):
        """Call a task for real and in the model; `inside` is what it calls itself."""
        label = f"task {next(_numbers)}"
        node = Node(label, self.model.top, None, key, False)
        expected = ... if refresh else self.model.lookup(key)

        def body():
            self.model.open.append(node)
            inside()
            self.model.open.pop()
            if fails:
                raise ZeroDivisionError(label)
            return label

        work = task(cache_key_fn=lambda *_: key, refresh_cache=refresh, **self.hooks(label))(body)
        state = work(return_state=True)
        if expected is not ...:
            assert (state.name, state.result()) == ("Cached", expected)
            return
        assert state.name == ("Failed" if fails else "Completed")
        if not fails:
            node.staged, node.has_staged = label, True
        self.model.end(node, fails)

    @rule(key=KEYS, fails=SELDOM, refresh=st.booleans())
    def call_a_task(self, key, fails, refresh):
        self.call(key, fails, refresh)

    @rule(key=KEYS, inner=st.lists(st.tuples(KEYS, SELDOM, st.booleans()), max_size=3), fails=SELDOM)
    def call_a_task_that_calls_tasks(self, key, inner, fails):
        self.call(key, fails, inside=lambda: [self.call(*one) for one in inner])

    # --- values

    @precondition(lambda self: self.real)
    @rule(name=NAMES, value=st.lists(st.integers(), max_size=2))
    def set_a_value(self, name, value):
        self.real[-1].set(name, value)
        self.model.open[-1].values[name] = list(value)
        value.append(-1)

    @precondition(lambda self: self.real)
    @rule(name=NAMES)
    def get_a_value(self, name):
        holders = [node for node in self.model.open if name in node.values]
        if holders:
            got = self.real[-1].get(name)
            assert got == holders[-1].values[name]
            got.append(-1)
        else:
            with pytest.raises(ValueError):
                self.real[-1].get(name)

    # --- always

    @invariant()
    def hooks_ran_when_and_in_the_order_the_model_says(self):
        assert self.log == self.model.log

    @invariant()
    def the_store_holds_what_was_committed(self):
        keys = {entry.key for entry in self.store.result_storage.scan()}
        assert keys == set(self.model.store)
        assert {key: self.store.read(key).result for key in keys} == self.model.store

    @invariant()
    def states_are_those_of_the_model(self):
        assert [txn.state.value for txn in self.real] == [node.state for node in self.model.open]

    def teardown(self):
        while self.real:
            self.leave_the_block(fails=False)
        assert self.log == self.model.log
        assert current_scope() is NO_SCOPE
        self.stack.close()


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=60 * ROUNDS, stateful_step_count=30, deadline=None)
