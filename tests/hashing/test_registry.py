"""Teaching types: registered functions, methods of one's own, and which of them is asked."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from flowstone.exceptions import HashError
from flowstone.hashing import register, token
from flowstone.hashing.registry import _registry


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    users = dict(_registry.by_user)
    yield
    _registry.by_user.clear()
    _registry.by_user.update(users)
    _registry.found = {}


class Client:
    def __init__(self, url: str, lock: object = None) -> None:
        self.url, self.lock = url, lock or threading.Lock()


class BetterClient(Client):
    pass


def test_a_registered_function_says_what_counts() -> None:
    with pytest.raises(HashError):
        token(Client("a"))

    register(Client, lambda client: client.url)

    assert token(Client("a")) == token(Client("a"))
    assert token(Client("a")) != token(Client("b"))
    assert token([Client("a")] * 20) == token([Client("a") for _ in range(20)])


def test_register_decorates() -> None:
    @register(Client)
    def url_of(client: Client) -> object:
        return client.url

    assert url_of(Client("a")) == "a"
    assert token(Client("a")) == token(Client("a"))


def test_the_class_counts_by_itself_and_subclasses_are_known_too() -> None:
    register(Client, lambda client: client.url)

    assert token(BetterClient("a")) == token(BetterClient("a"))
    assert token(BetterClient("a")) != token(Client("a"))
    assert token(Client("a")) != token("a")


def test_the_nearest_class_is_asked() -> None:
    register(Client, lambda client: client.url)
    register(BetterClient, lambda client: 1)

    assert token(BetterClient("a")) == token(BetterClient("b"))
    assert token(Client("a")) != token(Client("b"))


def test_a_later_registration_wins_at_once() -> None:
    register(Client, lambda client: client.url)
    before = token(Client("a"))
    register(Client, lambda client: [client.url])

    assert token(Client("a")) != before


def test_a_stand_in_may_hold_anything_that_can_be_hashed_and_is_refused_with_its_path_if_not() -> None:
    register(Client, lambda client: {"url": client.url, "extra": {1, 2}})
    assert token(Client("a")) == token(Client("a"))

    register(Client, lambda client: {"lock": client.lock})
    with pytest.raises(HashError, match="lock"):
        token(Client("a"))


def test_users_come_before_the_families_of_flowstone() -> None:
    import fractions

    usual = token(fractions.Fraction(1, 2))
    register(fractions.Fraction, lambda value: round(float(value), 1))

    assert token(fractions.Fraction(1, 2)) != usual
    assert token(fractions.Fraction(1, 3)) == token(fractions.Fraction(3, 10))


@pytest.mark.parametrize("kind", [int, str, dict, list, set, object])
def test_types_with_a_fixed_form_cannot_be_registered(kind: type) -> None:
    with pytest.raises(TypeError, match="fixed form"):
        register(kind, lambda value: 1)


def test_mistakes_are_told_when_registering() -> None:
    with pytest.raises(TypeError, match="takes a class"):
        register("Client", lambda value: 1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="function of one value"):
        register(Client, 5)  # type: ignore[call-overload]


def test_a_method_of_its_own_comes_first_and_is_inherited() -> None:
    class Own:
        def __init__(self, a: int, lock: object) -> None:
            self.a, self.lock = a, lock

        def __flowstone_key__(self) -> object:
            return self.a

    class Child(Own):
        pass

    register(Own, lambda value: value.lock)

    assert token(Own(1, threading.Lock())) == token(Own(1, threading.Lock()))
    assert token(Child(1, None)) != token(Own(1, None))
    assert token(Child(1, None)) == token(Child(1, threading.Lock()))


def test_nothing_is_imported_on_behalf_of_types_not_yet_met() -> None:
    families = "arrays frames arrow polars_frames tensors sparse images models labelled jax_arrays stdlib type_forms"
    code = (
        "import sys\n"
        "from flowstone.hashing import token\n"
        "token([1, {'a': {2, 'b'}}, len, int])\n"
        f"print([name for name in {families.split()!r} if f'flowstone.hashing.{{name}}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
