"""Functions, classes and tasks count by their code where they are values: in arguments, and inside of other values."""

from __future__ import annotations

import functools
import gc

import pytest

from flowstone.exceptions import HashError
from flowstone.fingerprints import code_fingerprint
from flowstone.fingerprints.values import hold, is_frozen
from flowstone.hashing import token


def one(x):
    return x + 1


def two(x):
    return x + 2


class Scaler:
    def __init__(self, n):
        self.n = n

    def scale(self, x):
        return x * self.n


def by_name(code) -> bytes:
    return code.__qualname__.encode()


def make(n, extra=()):
    def inner(x):
        return x * n, extra

    return inner


def test_a_function_given_as_an_argument_counts_by_its_code(project):
    project.write("help_.py", "import far\ndef scale(x):\n    return far.factor() * x\n")
    path = project.write("far.py", "def factor():\n    return 2\n")
    first = token(project.load("help_").scale)
    path.write_text("def factor():\n    return 3\n")
    project.load("far")
    second = token(project.load("help_").scale)
    path.write_text("def factor():  # two\n    return 2\n")
    project.load("far")

    assert first != second
    assert token(project.load("help_").scale) == first


def test_lambdas_closures_and_partials_given_as_arguments_are_told_apart():
    values = [one, two, make(1), make(2), make(1, (2,)), lambda x: x, lambda x: -x, functools.partial(one, 1), len]
    assert len({token(value) for value in values}) == len(values)
    assert len({token([value]) for value in values}) == len(values)
    assert token(make(2)) == token(make(2))
    assert token({make(2): 1, make(3): 2}) == token({make(3): 2, make(2): 1})


def test_tasks_and_flows_given_as_arguments_count_by_their_functions():
    from flowstone import flow, task

    assert token(task(one, retries=1)) == token(task(one, retries=2)) != token(task(two))
    assert token([flow(one)]) == token([flow(one, name="other")]) != token([flow(two)])


def test_a_function_that_holds_itself_has_a_token():
    table: dict = {}

    def loop():
        return table

    table["loop"] = loop
    assert token(table) == token(table)
    assert token(loop) == token(loop)


def test_what_is_held_is_named_in_an_order_of_its_own():
    forwards = hold([one, {"a": two}, Scaler(1)], "v", by_name)
    backwards = hold([two, {"a": one}, Scaler(1)], "v", by_name)

    assert [code for _, code in forwards.code] == [code for _, code in backwards.code]
    assert {code for _, code in forwards.code} == {one, two, Scaler}
    assert forwards.token != backwards.token


def test_code_that_says_the_same_is_told_apart_by_where_it_stands():
    other = type(one)(one.__code__, {"__name__": "other"}, "one")
    other.__module__ = "zzz"

    def same(_):
        return b"the same for all"

    forwards, backwards = hold([one, other], "v", same), hold([other, one], "v", same)
    assert forwards.token != backwards.token
    assert [code for _, code in forwards.code] == [code for _, code in backwards.code] == [one, other]


def test_a_class_that_is_not_stood_in_for_is_left_to_hashing():
    held = hold(Scaler(1), "v", lambda _: None)
    assert held.token == token(Scaler(1))
    assert held.code == ()


def test_a_value_that_cannot_be_hashed_says_where():
    with pytest.raises(HashError) as caught:
        hold({"a": [gc.get_objects, (i for i in "a")]}, "mod.value", by_name)

    assert caught.value.path == "mod.value['a'][1]"


def test_an_error_in_one_value_does_not_leave_a_stand_in_behind():
    with pytest.raises(HashError):
        hold((i for i in "a"), "v", by_name)

    assert token(one) != token(two)
    assert token(one) != hold(one, "v", by_name).token


FROZEN = [None, 1, 1.5, "a", b"a", (1, ("a",)), frozenset({1}), range(3), ...]
CHANGING = [[], {}, set(), ([],), (one,), one, Scaler, Scaler(1), bytearray()]


@pytest.mark.parametrize("value", FROZEN)
def test_frozen(value):
    assert is_frozen(value)


@pytest.mark.parametrize("value", CHANGING)
def test_not_frozen(value):
    assert not is_frozen(value)


def test_a_class_of_the_script_itself_counts_by_its_code(project):
    def scripted(number: int) -> str:
        return project.run(
            stdin=f"""
            import flowstone.fingerprints
            from flowstone.hashing import token
            class Config:
                def get(self):
                    return {number}
            print(token(Config).hex(), token(Config()).hex())
            """
        )

    assert scripted(1) == scripted(1) != scripted(2)


def test_a_fingerprint_of_a_class_is_that_of_its_code():
    assert code_fingerprint(Scaler).parts[0].text.startswith("class Scaler")
