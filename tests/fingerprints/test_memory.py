"""A variable that a function changes itself is its memory: its value does not count (docs/adr/0003)."""

from __future__ import annotations

import ast

import pytest

from flowstone.fingerprints import code_fingerprint, source_fingerprint
from flowstone.fingerprints.normal import function_form
from flowstone.fingerprints.walk import Walk

COUNT = 0
LOG: list[int] = []
TABLE = {"a": 1}


class Model:
    def __init__(self, weight):
        self.weight = weight

    def evaluate(self):
        return self.weight

    def train(self):
        self.weight += 1


MODEL = Model(1)


def counts():
    global COUNT
    COUNT += 1
    return COUNT


def logs(x):
    LOG.append(x)
    return len(LOG)


def reads():
    return TABLE["a"]


def reads_the_log():
    return LOG


def evaluates():
    MODEL.evaluate()
    return MODEL.weight


def trains():
    MODEL.train()
    return MODEL.weight


def remembers(x, seen=[], limit=[3]):  # noqa: B006
    seen.append(x)
    return len(seen) < limit[0]


CHANGES = {
    "nonlocal n; n += 1": {("n",)},
    "global n; n = 1": {("n",)},
    "global n; del n": {("n",)},
    "runs.append(1)": {("runs",)},
    "x = stack.pop()": {("stack",)},
    "d['k'] = 1": {("d",)},
    "d['k']['j'] += 1": {("d",)},
    "del d['k']": {("d",)},
    "d['k'].x = 1": {("d",)},
    "helpers.STATE['n'] = 1": {("helpers", "STATE")},
    "helpers.n = 1": {("helpers",)},
    "box.value = 1": {("box",)},
    "box.inner.value = 1": {("box", "inner")},
    "for box.value in y: pass": {("box",)},
    "x = next(numbers)": {("numbers",)},
    "heapq.heappush(heap, 1)": {("heapq",)} - {("heapq",)},
    "heappush(heap, 1)": {("heap",)},
    "client.connect()": set(),
    "x = config.get('k'); y = d['k']; f(d)": set(),
    "local = []; local.append(1); local[0] = 2": set(),
}


@pytest.mark.parametrize(("code", "chains"), CHANGES.items())
def test_what_changes_a_value(code, chains):
    head = "def outer():\n    n = 0\n    def f():\n        " if code.startswith("nonlocal") else "def f():\n    "
    tree = ast.parse(head + code)
    function = tree.body[0].body[-1] if code.startswith("nonlocal") else tree.body[0]
    refs = function_form(function, lambda _: False).refs

    assert {(root, *chain) for kind, root, chain in refs if kind == "changed"} == chains


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
    assert [note.expression.partition("[")[2] for note in source_fingerprint(work).unresolved] == ["runs]", "total]"]


def test_a_global_that_is_written_to_does_not_change_the_key_and_one_that_is_read_does():
    before = code_fingerprint(counts).digest, code_fingerprint(logs).digest, code_fingerprint(reads).digest
    counts()
    logs(1)
    TABLE["a"] += 1
    after = code_fingerprint(counts).digest, code_fingerprint(logs).digest, code_fingerprint(reads).digest
    assert (before[0] == after[0], before[1] == after[1], before[2] == after[2]) == (True, True, False)


def test_what_is_memory_to_one_function_counts_by_value_for_another():
    def both():
        return logs(1), reads_the_log()

    before = code_fingerprint(reads_the_log).digest, code_fingerprint(both).digest
    LOG.append(7)

    assert code_fingerprint(reads_the_log).digest != before[0]
    assert code_fingerprint(both).digest != before[1]


def test_a_method_that_changes_its_object_makes_memory_of_it_and_one_that_does_not_does_not():
    before = code_fingerprint(trains).digest, code_fingerprint(evaluates).digest
    trains()

    assert code_fingerprint(trains).digest == before[0]
    assert code_fingerprint(evaluates).digest != before[1]


def test_the_class_of_a_remembered_object_counts():
    before = code_fingerprint(trains).digest
    evaluate, Model.evaluate = Model.evaluate, lambda self: 2
    try:
        assert code_fingerprint(trains).digest != before
    finally:
        Model.evaluate = evaluate
    assert code_fingerprint(trains).digest == before


def test_a_default_that_is_written_to_does_not_change_the_key_and_one_that_is_read_does():
    before = source_fingerprint(remembers).digest
    remembers(1)
    assert source_fingerprint(remembers).digest == before
    remembers.__defaults__[1].append(4)
    assert source_fingerprint(remembers).digest != before
    remembers.__defaults__[1].pop()


def test_memory_of_another_type_counts_as_another():
    global COUNT
    before, was = code_fingerprint(counts).digest, COUNT
    COUNT = 1.5
    try:
        assert code_fingerprint(counts).digest != before
    finally:
        COUNT = was


def test_memory_that_changes_does_not_make_it_look_again(monkeypatch):
    total = 0

    def work():
        nonlocal total
        total += 1
        return counts(), total

    before = code_fingerprint(work)
    monkeypatch.setattr(Walk, "fingerprint", lambda _: pytest.fail("walked again"))
    work()

    assert code_fingerprint(work) is before


def test_a_name_that_holds_code_is_followed_even_if_it_is_rebound():
    def later():
        return 1

    def work():
        nonlocal later
        later = later
        return later()

    before = source_fingerprint(work).digest
    later.__code__ = (lambda: 2).__code__

    assert source_fingerprint(work).digest != before


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
