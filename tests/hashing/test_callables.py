"""How code counts as a value, with and without those who know more of it."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flowstone.hashing import register_classes, register_functions, token
from flowstone.hashing.callables import _Hooks


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Hashing by itself, as it is where fingerprints are not loaded."""
    told, functions, classes = _Hooks.told, _Hooks.functions, _Hooks.classes
    register_functions(None)
    register_classes(None)
    yield
    register_functions(functions)
    register_classes(classes)
    _Hooks.told = told


def make(n: object) -> object:
    def inner(x: object, y: object = n) -> object:
        return (x, y, n)

    return inner


def local(n: object) -> type:
    class Local:
        factor = n

        def f(self) -> object:
            return n

    return Local


def test_without_help_code_objects_count_with_defaults_and_closures() -> None:
    assert token(make(1)) == token(make(1))
    assert token(make(1)) != token(make(2))
    assert token(lambda: 1) != token(lambda: 1.0)
    assert token(lambda x: x.a) != token(lambda x: x.b)


def test_without_help_a_local_class_counts_by_its_body() -> None:
    assert token(local(1)) == token(local(1))
    assert token(local(1)) != token(local(2))
    assert token(local(1)()) != token(local(2)())


def test_classes_that_refer_to_each_other_are_no_riddle() -> None:
    def pair(n: int) -> tuple[type, type]:
        class A:
            def f(self) -> object:
                return B, n

        class B:
            def f(self, other: object = None) -> object:
                return A, n

        return A, B

    one, other = pair(1), pair(1)
    first, second = token(one[0]), token(one[1])

    assert token(other[1]) == second  # whichever is asked for first
    assert token(other[0]) == first
    assert token(pair(1)[0]) != token(pair(2)[0])


def test_a_function_that_calls_itself_is_no_riddle() -> None:
    def recursive(n: int) -> object:
        def step(k: int) -> object:
            return k and step(k - n)

        return step

    assert token(recursive(1)) == token(recursive(1))
    assert token(recursive(1)) != token(recursive(2))


def test_a_class_body_may_hold_anything() -> None:
    import threading

    class WithLock:
        lock = threading.Lock()

        def f(self) -> object:
            return self.lock

    assert token(WithLock()) == token(WithLock())


def test_whoever_knows_functions_is_asked_for_each() -> None:
    register_functions(lambda function: function.__name__.encode())

    assert token(make(1)) == token(make(2))
    assert token(make(1)) != token(lambda: 1)


def test_whoever_knows_classes_is_asked_only_for_those_that_cannot_be_imported() -> None:
    asked: list[type] = []
    register_classes(lambda kind: (asked.append(kind), b"x")[1])

    token([local(1), ValueError, HasName, local(2)()])

    assert [kind.__name__ for kind in asked] == ["Local", "Local"]


class HasName:
    pass


def test_copying_an_instance_does_not_change_its_class() -> None:
    kind = local(1)
    before = token(kind)
    copy.copy(kind())

    assert token(local(1)) == before
    assert token(kind) == before


def test_a_token_does_not_depend_on_what_was_imported_before() -> None:
    code = """
from flowstone.hashing import digest

def f(x): return x + 1

class C:
    def g(self): return f

print(digest([f, C, C(), 1]))
"""
    told = [
        subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True).stdout
        for before in ("", "import flowstone.tasks", "import flowstone.fingerprints")
    ]

    assert len(set(told)) == 1
