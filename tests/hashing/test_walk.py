"""Tokens, and the errors that say where there can be none."""

from __future__ import annotations

import sys
import threading
import time
from decimal import Decimal

import pytest

from flowstone.exceptions import HashError
from flowstone.hashing import token


class Session:
    def __init__(self, handle: object) -> None:
        self.handle = handle


def refusal(value: object, path: str = "inputs['cfg']") -> HashError:
    with pytest.raises(HashError) as caught:
        token(value, path)
    return caught.value


def test_the_error_leads_to_the_culprit_and_says_what_to_do() -> None:
    error = refusal(Session([1, {"lock": threading.Lock()}]))

    assert error.path == "inputs['cfg'].handle[1]['lock']"
    assert error.culprit == "_thread.lock"
    assert str(error).startswith("inputs['cfg'].handle[1]['lock']: _thread.lock cannot be hashed by content")
    for way in ("INPUTS - 'cfg'", "flowstone.hashing.register", "cache_key_fn"):
        assert way in str(error)


def test_the_error_names_no_argument_where_there_is_none() -> None:
    assert "INPUTS" not in str(refusal(threading.Lock(), "value"))


def test_the_error_keeps_what_the_value_itself_raised() -> None:
    class Broken:
        def __getstate__(self) -> object:
            raise RuntimeError("no state today")

    error = refusal(Broken())

    assert "RuntimeError: no state today" in str(error)
    assert isinstance(error.__cause__, RuntimeError)


def test_a_very_long_path_is_told_by_its_ends() -> None:
    value: object = object()
    for _ in range(5000):
        value = [value]

    error = refusal(value)

    assert len(str(error)) < 1000
    assert error.path.startswith("inputs['cfg'][0][0]")
    assert error.path.endswith("[0][0]")


def test_long_keys_and_keys_that_are_no_plain_values_are_told_short() -> None:
    assert refusal({"k" * 500: threading.Lock()}).path.endswith("...]")
    assert refusal({(1, Decimal(2)): threading.Lock()}).path == "inputs['cfg'][<tuple>]"


def test_an_iterator_is_refused_untouched() -> None:
    numbers = iter([1, 2, 3])

    refusal([numbers])

    assert list(numbers) == [1, 2, 3]


def test_a_refusal_does_not_spoil_later_tokens_of_the_type() -> None:
    before = token(Session(1))
    refusal(Session(threading.Lock()))

    assert token(Session(1)) == before


def test_an_object_whose_state_never_ends_is_refused() -> None:
    class Endless:
        def __getstate__(self) -> object:
            return {"again": Endless()}

    assert "levels deep" in str(refusal(Endless()))


def test_an_object_that_recurses_while_telling_its_state_is_refused() -> None:
    class Looping:
        def __getstate__(self) -> object:
            return self.__getstate__()

    assert "never ended" in str(refusal(Looping()))


@pytest.mark.parametrize(
    "value", [[[[Decimal(1)]]], [[Decimal(i)] for i in range(40)], [Session(i) for i in range(40)]]
)
def test_too_little_stack_is_an_error_and_never_another_token(value: object) -> None:
    expected = token(value)
    outcomes = []

    def dive(frames: int) -> bytes:
        return token(value) if frames == 0 else dive(frames - 1)

    for frames in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        try:
            outcomes.append(dive(frames))
        except (HashError, RecursionError):
            outcomes.append(b"")

    assert set(outcomes) == {expected, b""}


def test_a_class_that_cannot_be_hashed_itself_is_refused() -> None:
    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            return cls is other

    class Odd(metaclass=Meta):
        pass

    for value in (Odd(), [Odd()], {"k": Odd()}):
        refusal(value)


def test_sharing_cannot_make_hashing_explode() -> None:
    value: object = [Decimal(1)]
    for _ in range(200):
        value = [value, value]

    start = time.perf_counter()
    token(value)

    assert time.perf_counter() - start < 5


def test_threads_may_hash_the_same_value_at_once() -> None:
    value = [Session({"a": [Decimal(i)]}) for i in range(50)]
    expected = token(value)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.extend(token(value) for _ in range(20))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(found) == {expected}
    assert len(found) == 160
