"""Looking at an object runs none of its code."""

from __future__ import annotations

import functools

import pytest

from flowstone.fingerprints.plainly import attribute, is_class, is_module, is_runnable


class Loud:
    def __getattr__(self, name):
        raise RuntimeError(name)

    @property
    def func(self):
        raise RuntimeError("func")

    @property
    def __class__(self):
        raise RuntimeError("class")


class Slotted:
    __slots__ = ("func",)


def test_only_what_is_really_there_is_found():
    slotted = Slotted()
    assert attribute(slotted, "func") is None
    slotted.func = 1
    assert attribute(slotted, "func") == 1
    assert attribute(functools.partial(len), "func") is len
    assert attribute(functools.lru_cache(len), "__wrapped__") is len
    assert attribute(property(len), "fget") is len
    assert attribute(classmethod(len), "__func__") is len
    assert attribute(1, "func") is None


@pytest.mark.parametrize("name", ["func", "missing", "__wrapped__"])
def test_nothing_is_asked(name):
    assert attribute(Loud(), name) is None


def test_pretenders_are_not_believed():
    assert not is_class(Loud())
    assert not is_module(Loud())
    assert not is_runnable(Loud())
    assert is_class(Loud)
    assert is_module(functools)
