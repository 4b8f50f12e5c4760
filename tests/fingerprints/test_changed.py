"""A variable that a function changes itself is its memory: its value does not count (docs/adr/0003)."""

from __future__ import annotations

import ast

import pytest

from flowstone.fingerprints import code_fingerprint, source_fingerprint
from flowstone.fingerprints.changed import changed_chains

COUNT = 0
LOG: list[int] = []
TABLE = {"a": 1}


def counts():
    global COUNT
    COUNT += 1
    return COUNT


def logs(x):
    LOG.append(x)
    return len(LOG)


def reads():
    return TABLE["a"]


@pytest.mark.parametrize(
    ("code", "chains"),
    [
        ("nonlocal n; n += 1", {("n",)}),
        ("runs.append(1)", {("runs",)}),
        ("x = stack.pop()", {("stack",)}),
        ("d['k'] = 1", {("d",)}),
        ("d['k']['j'] += 1", {("d",)}),
        ("del d['k']", {("d",)}),
        ("helpers.STATE['n'] = 1", {("helpers", "STATE")}),
        ("box.value = 1", {("box",)}),
        ("box.inner.value = 1", {("box", "inner")}),
        ("x = next(numbers)", {("numbers",)}),
        ("client.connect()", {("client",)}),
        ("x = config.get('k'); y = d['k']; f(d)", set()),
    ],
)
def test_what_changes_a_value(code, chains):
    if code.startswith("nonlocal"):
        tree = ast.parse(f"def outer():\n    n = 0\n    def f():\n        {code}")
    else:
        tree = ast.parse(f"def f():\n    {code}")
    assert changed_chains(tree) == chains


def test_a_closure_that_is_written_to_does_not_change_the_key():
    runs, total, table = [], 0, {"rate": 2}

    def work(x):
        nonlocal total
        total += x
        runs.append(x)
        return total * table["rate"]

    before = source_fingerprint(work).digest, code_fingerprint(work).digest
    work(1)
    assert (source_fingerprint(work).digest, code_fingerprint(work).digest) == before
    table["rate"] = 3
    assert source_fingerprint(work).digest != before[0], "what it only reads counts"
    assert {note.expression for note in source_fingerprint(work).unresolved} == {"runs", "total"}


def test_a_global_that_is_written_to_does_not_change_the_key_and_one_that_is_read_does():
    before = code_fingerprint(counts).digest, code_fingerprint(logs).digest, code_fingerprint(reads).digest
    counts()
    logs(1)
    TABLE["a"] += 1
    after = code_fingerprint(counts).digest, code_fingerprint(logs).digest, code_fingerprint(reads).digest
    assert (before[0] == after[0], before[1] == after[1], before[2] == after[2]) == (True, True, False)


def test_factories_still_differ_by_what_they_captured():
    def make(n):
        return lambda x: x * n

    assert source_fingerprint(make(2)).digest != source_fingerprint(make(3)).digest


def test_without_source_rebinding_is_known_from_the_code_object():
    namespace: dict = {}
    exec("n = 0\ndef work():\n    global n\n    n += 1\n    return n", namespace)
    before = code_fingerprint(namespace["work"]).digest
    namespace["work"]()
    assert code_fingerprint(namespace["work"]).digest == before
