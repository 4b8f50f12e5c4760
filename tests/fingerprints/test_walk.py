"""What a fingerprint follows, what it lists, and what it says of itself."""

from __future__ import annotations

import functools
import json
import operator
import os
import pickle
import sys
import threading
import types
from unittest import mock

import pytest

from flowstone.fingerprints import Boundary, CodePart, Fingerprint, Unresolved, code_fingerprint, source_fingerprint


def digest(fn) -> bytes:
    return code_fingerprint(fn).digest


def parts(fn) -> dict[str, str]:
    return {part.name: part.kind for part in code_fingerprint(fn).parts}


def reasons(fn) -> list[str]:
    return [str(item) for item in code_fingerprint(fn).unresolved]


@pytest.fixture
def job(project):
    def load(text: str, **others: str):
        for name, other in others.items():
            project.write(f"{name}.py", other)
        project.write("job.py", text)
        return project.load("job")

    return load


def test_the_parts_tell_what_was_followed_with_files_lines_and_texts(job):
    module = job(
        """
        import math
        import help_ as h

        LIMIT = 3

        def step(x, y=2):
            return h.scale(x) + LIMIT + math.pi
        """,
        help_="def scale(x):\n    # double\n    return x*2\n",
    )
    found = {part.name: part for part in code_fingerprint(module.step).parts}

    assert {name: part.kind for name, part in found.items()} == {
        "job.step": "function",
        "help_.scale": "function",
        "job.LIMIT": "global",
        "job.step(y=)": "default",
        "math": "stdlib",
    }
    assert list(found)[0] == "job.step"
    assert found["help_.scale"].text == "def scale(x):\n    return x * 2"
    assert found["help_.scale"].file == module.h.__file__
    assert found["help_.scale"].line == 1
    assert found["job.LIMIT"].text == "3"


def test_a_fingerprint_prints_as_a_table_with_what_was_not_followed(job):
    module = job("def step(x):\n    return getattr(x, x), later\n")
    text = str(code_fingerprint(module.step))

    assert text.splitlines()[0] == f"fingerprint {digest(module.step).hex()}"
    assert "function" in text
    assert "job.step" in text
    assert "getattr(x, x) in job.step: the attribute's name is only known when it runs" in text
    assert "later in job.step: it is not defined (yet)" in text


def test_fingerprints_are_values(job):
    module = job("def step(x):\n    return x\n\ndef other(x):\n    return 1\n")
    one, other = code_fingerprint(module.step), code_fingerprint(module.other)
    again = pickle.loads(pickle.dumps(one))

    assert (again, hash(again), str(again)) == (one, hash(one), str(one))
    assert one != other
    assert one != "a fingerprint"
    assert one.parts[0].text == again.parts[0].text
    with pytest.raises(AttributeError):
        one.digest = b""
    with pytest.raises(AttributeError):
        del one.digest
    assert isinstance(one, Fingerprint)
    assert isinstance(one.parts[0], CodePart)
    assert len(one.digest) == 32
    assert "step" in repr(one.parts[0])
    assert repr(Unresolved("a", "b", "c")) == "Unresolved('a', 'b', 'c')"


def test_secrets_are_counted_but_not_shown(job):
    module = job("API_KEY = 'abc'\n\ndef step(x, password='def'):\n    return API_KEY\n")
    shown = [part.text for part in code_fingerprint(module.step).parts[1:]]
    before = digest(module.step)
    module.API_KEY = "abcd"

    assert shown == ["<hidden str>", "<hidden str>"]
    assert digest(module.step) != before


def test_long_values_and_failing_reprs_are_shown_short(job):
    module = job(
        """
        class Rude:
            def __repr__(self):
                raise ValueError("no")

        LONG, RUDE = list(range(1000)), Rude()

        def step(x):
            return LONG, RUDE
        """
    )
    shown = {part.name: part.text for part in code_fingerprint(module.step).parts}

    assert len(shown["job.LONG"]) == 200
    assert shown["job.RUDE"] == "<Rude: its repr raised ValueError>"


UNRESOLVED = {
    "a computed attribute": ("getattr(h, x)", "getattr(h, x) in job.step: the attribute's name is only known"),
    "a computed module": ("importlib.import_module(x)", "importlib.import_module(x) in job.step: the module is only"),
    "eval": ("eval(x)", "eval(x) in job.step: what it reads is only known when it runs"),
    "exec": ("exec(x)", "exec(x) in job.step: what it reads is only known when it runs"),
    "globals": ("globals()", "globals() in job.step: what it reads is only known when it runs"),
    "a missing name": ("missing", "missing in job.step: it is not defined (yet)"),
    "a missing attribute": ("h.missing", "help_.missing in job.step: the module has no such attribute (yet)"),
    "a missing module": ("__import__('missing_module')", "missing_module in job.step: there is no module of this name"),
    "a lazy attribute": ("lazy.thing", "lazy.thing in job.step: the module makes it when it is asked for"),
    "a lock": ("LOCK", "job.LOCK in job.step: _thread.lock has no content to hash; it counts by its type"),
    "a generator": ("GENERATOR", "job.GENERATOR in job.step: generator has no content to hash; it counts by its type"),
    "a logger": ("LOG", "job.LOG in job.step: where a logger writes does not count"),
    "the environment": ("environ", "job.environ in job.step: the environment does not count"),
    "a file's place": ("__file__", "__file__ in job.step: where the code lies does not count"),
    "another file's place": ("h.__file__", "help_.__file__ in job.step: where the code lies does not count"),
    "a broken module": ("__import__('broken')", "broken in job.step: importing it raised ValueError: broken"),
}


@pytest.mark.parametrize(("expression", "expected"), UNRESOLVED.values(), ids=[k.replace(" ", "-") for k in UNRESOLVED])
def test_what_cannot_be_followed_is_listed(job, expression, expected):
    module = job(
        f"""
        import importlib, logging, threading
        from os import environ
        import help_ as h, lazy

        LOCK, LOG = threading.Lock(), logging.getLogger("job")
        GENERATOR = (i for i in "a")

        def step(x):
            return {expression}
        """,
        help_="def scale(x):\n    return x\n",
        lazy="def __getattr__(name):\n    return 1\n",
        broken="raise ValueError('broken')\n",
    )

    assert [reason for reason in reasons(module.step) if reason.startswith(expected)], reasons(module.step)


def test_an_empty_cell_is_listed_until_it_has_a_value(job):
    module = job(
        """
        def make():
            def step(x):
                return later(x)
            yield step
            def later(x):
                return x
            yield step
        """
    )
    making = module.make()
    step = next(making)
    before = code_fingerprint(step)
    assert [item.reason for item in before.unresolved] == ["it has no value yet"]
    next(making)

    assert code_fingerprint(step).digest != before.digest
    assert not code_fingerprint(step).unresolved


def test_methods_of_classes_that_cannot_be_found_are_listed(job):
    module = job(
        """
        def make():
            class Job:
                def step(self):
                    return self.helper()
            return Job
        """
    )
    assert reasons(module.make().step) == [
        "self.helper in job.make.<locals>.Job.step: its class is not known from the function alone"
    ]
    assert not reasons(module.make()().step)


def test_nothing_is_imported_that_is_not_the_users_own(job):
    module = job("def step(x):\n    import this, xml.dom.pulldom\n    return this.s, xml.dom.pulldom.parse\n")
    before = set(sys.modules)
    code_fingerprint(module.step)

    assert not {"this", "xml.dom.pulldom"} & (set(sys.modules) - before)


def test_an_import_in_the_body_gives_the_same_before_and_after_it_ran(job):
    module = job("def step(x):\n    import help_\n    return help_.scale(x)\n", help_="def scale(x):\n    return x\n")
    before = digest(module.step)
    module.step(1)

    assert digest(module.step) == before
    assert parts(module.step) == {"job.step": "function", "help_.scale": "function"}


def test_a_task_or_flow_counts_as_its_function(job):
    module = job(
        """
        from flowstone import flow, task

        def plain(x):
            return x

        one = task(plain, retries=2)
        other = flow(plain, name="other")
        """
    )
    assert digest(module.one) == digest(module.other) == digest(module.plain)
    assert digest(functools.partial(module.one, 1)) == digest(functools.partial(module.other, 1))


def test_cycles_of_all_kinds_end_and_are_stable(project):
    text = """
    class A:
        other = None
        def go(self):
            return B, TABLE

    class B(A):
        def go(self):
            return super().go(), A, self.go, step

    A.other = B

    def first(x):
        return TABLE[0](x), B

    def second(x):
        return first(x), step

    TABLE = [first, second, A, {"b": B()}]
    TABLE.append({"again": [second, first]})

    def step(x):
        return TABLE, A.other, step, loop

    def loop():
        return loop
    loop.__wrapped__ = step
    """
    project.write("job.py", text)
    ask = "import job; from flowstone.fingerprints import code_fingerprint as f; print(*[f(g).digest.hex() for g in ({})])"
    forwards = project.run("-c", ask.format("job.step, job.first, job.B, job.A, job.loop"), PYTHONHASHSEED="1").split()
    backwards = project.run("-c", ask.format("job.loop, job.A, job.B, job.first, job.step"), PYTHONHASHSEED="2").split()

    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 5


def test_values_shared_or_merely_equal_are_the_same(job):
    module = job("A = [1]\nB = A\nC = (1, 2)\n\ndef step(x):\n    return A, B, C, (1, 2)\n")
    before = digest(module.step)
    module.B, module.C = [1], (1, 2)

    assert digest(module.step) == before


class Evil:
    def __getattr__(self, name):
        raise RuntimeError(name)


class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("there is nothing behind it yet")


ODD = {
    "a builtin": len,
    "a bound builtin": "a".join,
    "an attribute getter": operator.itemgetter(1),
    "a function of the standard library": json.dumps,
    "a bound method of the standard library": json.JSONEncoder().encode,
    "a class": Evil,
    "a class of the standard library": json.JSONEncoder,
    "type": type,
    "an object that has every attribute": mock.MagicMock(),
    "an object that raises for every attribute": Evil(),
    "an object that pretends to be another": Proxy(),
    "a lock": threading.Lock(),
    "a module": types.ModuleType("made_up"),
    "None": None,
    "a number": 3,
    "a cached function": functools.lru_cache(json.dumps),
    "a partial method": functools.partialmethod(json.dumps),
    "a partial of a partial": functools.partial(functools.partial(json.dumps, 1), indent=2),
    "a class method": classmethod(json.dumps),
    "the environment": os.environ,
    "a generator": (i for i in "a"),
}


@pytest.mark.parametrize("name", ODD)
def test_anything_has_a_fingerprint(name):
    odd = ODD[name]

    def uses(x, y=odd):
        return odd

    for fn in (odd, uses):
        assert len(source_fingerprint(fn).digest) == len(code_fingerprint(fn).digest) == 32
        assert str(code_fingerprint(fn))


def test_different_odd_things_have_different_fingerprints():
    assert len({digest(odd) for odd in ODD.values()}) == len(ODD)


def test_what_a_bound_method_calls_is_looked_up_on_the_class_of_its_object(job):
    module = job(
        """
        class Base:
            def go(self):
                return self.helper()
            def helper(self):
                return 1

        class Child(Base):
            def helper(self):
                return 2
        """
    )
    assert "job.Child.helper" in parts(module.Child().go)
    assert "job.Base.helper" in parts(module.Base().go)
    assert "job.Base.helper" not in parts(module.Child().go)


def test_the_boundary_decides_what_is_followed(job):
    module = job(
        "import vendored\nCACHE = {}\n\ndef step(x):\n    return vendored.scale(x), CACHE\n",
        vendored="def scale(x):\n    return x\n",
    )
    narrow = Boundary(exclude=("vendored", "job.CACHE"))
    before = code_fingerprint(module.step, narrow)
    module.CACHE["a"] = 1
    module.vendored.scale = lambda x: 2

    assert code_fingerprint(module.step, narrow).digest == before.digest
    assert [part.name for part in before.parts] == ["job.step"]
    wide = Boundary(include=("json.decoder",))
    assert "json.decoder.scanstring" not in parts(json.loads)
    assert "json.decoder.JSONDecoder" in {part.name for part in code_fingerprint(json.decoder.JSONDecoder, wide).parts}


def test_a_method_looked_up_on_a_subclass_reaches_what_that_overrides(job):
    module = job(
        """
        class Base:
            def go(self):
                return self.helper()
            def helper(self):
                return 1

        class Child(Base):
            def helper(self):
                return 2
        """
    )
    on_child = code_fingerprint(module.Base.go, owner=module.Child)

    assert on_child.digest != code_fingerprint(module.Base.go, owner=module.Base).digest
    assert code_fingerprint(module.Base.go, owner=module.Base).digest == digest(module.Base.go)
    assert code_fingerprint(module.Base.go, owner=module.Child) is on_child
    module.Child.helper = lambda self: 3
    assert code_fingerprint(module.Base.go, owner=module.Child).digest != on_child.digest
    assert code_fingerprint(module.Base.go, Boundary(exclude=("job.Child",)), module.Child).digest != on_child.digest
