"""A second look is cheap, and sees whatever the first one looked at change."""

from __future__ import annotations

import gc
import sys
import threading
import types
import weakref

import pytest

from flowstone.fingerprints import code_fingerprint, source_fingerprint
from flowstone.fingerprints.walk import Walk


@pytest.fixture
def job(project):
    project.write(
        "tools.py",
        """
        factor = 2

        def scale(x):
            return x * factor

        class Config:
            limit = 3
            def get(self):
                return self.limit

        class Meta(Config):
            pass
        """,
    )
    project.write(
        "job.py",
        """
        import functools
        import tools
        from flowstone import task

        NAMES = ["a"]
        TABLE = {"scale": tools.scale}
        CONFIG = tools.Config()

        def make(n, names):
            def step(x):
                return n, names, nothing
            nothing = None
            return step

        def wrapped(x):
            return x

        @functools.wraps(wrapped)
        def wrapper(x):
            return wrapped(x)

        @task
        def inner(x):
            return x

        def step(x, y=1, *, z=2, kept={}):
            return tools.scale(x), NAMES, TABLE, CONFIG, tools.Config, tools.Meta().get(), inner(x), len(x), later(x)

        bound = CONFIG.get
        closure = make(1, ["a"])
        partial = functools.partial(step, 1, y=[2])
        """,
    )
    return project.load("job")


def set_item(mapping, key, value):
    mapping[key] = value


CHANGES = {
    "a global is rebound": lambda job: setattr(job.tools, "factor", 3),
    "a function of a module is replaced": lambda job: setattr(job.tools, "scale", lambda x: x),
    "a function gets other code": lambda job: setattr(job.tools.scale, "__code__", (lambda x: x).__code__),
    "a function gets other defaults": lambda job: setattr(job.tools.scale, "__defaults__", (1,)),
    "its own defaults are replaced": lambda job: setattr(job.step, "__defaults__", (2,)),
    "its own keyword defaults are replaced": lambda job: setattr(job.step, "__kwdefaults__", {"z": 3, "kept": {}}),
    "a keyword default is set": lambda job: set_item(job.step.__kwdefaults__, "z", 3),
    "a mutable default changes": lambda job: set_item(job.step.__kwdefaults__["kept"], "a", 1),
    "a list changes in place": lambda job: job.NAMES.append("b"),
    "an entry of a table of functions is replaced": lambda job: set_item(job.TABLE, "scale", lambda x: x),
    "an entry of a table is replaced by a twin": lambda job: set_item(
        job.TABLE, "scale", types.FunctionType(job.tools.scale.__code__, {**vars(job.tools), "factor": 5}, "scale")
    ),
    "an object gets an attribute": lambda job: setattr(job.CONFIG, "limit", 4),
    "an object gets another class": lambda job: setattr(job.CONFIG, "__class__", job.tools.Meta),
    "a class attribute is set": lambda job: setattr(job.tools.Config, "limit", 4),
    "a class attribute is added": lambda job: setattr(job.tools.Config, "more", 4),
    "a class attribute is deleted": lambda job: delattr(job.tools.Config, "limit"),
    "a method is replaced": lambda job: setattr(job.tools.Config, "get", lambda self: 1),
    "a method gets other code": lambda job: setattr(job.tools.Config.get, "__code__", (lambda self: 1).__code__),
    "a class gets another base": lambda job: setattr(job.tools.Meta, "__bases__", (type("Other", (), {"x": 1}),)),
    "a task that is called gets another function": lambda job: setattr(job.inner, "fn", lambda x: -x),
    "a name hides a builtin": lambda job: setattr(job, "len", lambda x: 0),
    "a missing name appears": lambda job: setattr(job, "later", lambda x: 0),
    "a module is replaced": lambda job: setattr(job, "tools", types.SimpleNamespace(scale=1, Config=2, Meta=int)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=[name.replace(" ", "-") for name in CHANGES])
def test_a_change_of_what_was_looked_at_is_seen(job, change):
    before = code_fingerprint(job.step).digest
    assert code_fingerprint(job.step) is code_fingerprint(job.step)

    change(job)

    assert code_fingerprint(job.step).digest != before


SOURCE_CHANGES = {
    "a cell": ("closure", lambda job: setattr(job.closure.__closure__[0], "cell_contents", 5)),
    "a value in a cell": ("closure", lambda job: job.closure.__closure__[1].cell_contents.append("b")),
    "an emptied cell": ("closure", lambda job: delattr(job.closure.__closure__[0], "cell_contents")),
    "what is wrapped": ("wrapper", lambda job: setattr(job.wrapper, "__wrapped__", lambda x: 1)),
    "the code of what is wrapped": ("wrapper", lambda job: setattr(job.wrapped, "__code__", (lambda x: 1).__code__)),
    "an argument of a partial": ("partial", lambda job: job.partial.keywords["y"].append(3)),
    "the function of a partial": ("partial", lambda job: setattr(job.step, "__code__", (lambda x: 1).__code__)),
    "the object of a bound method": ("bound", lambda job: setattr(job.CONFIG, "limit", 4)),
}


@pytest.mark.parametrize(("name", "change"), SOURCE_CHANGES.values(), ids=[k.replace(" ", "-") for k in SOURCE_CHANGES])
def test_a_change_of_what_a_function_carries_is_seen(job, name, change):
    before = source_fingerprint(getattr(job, name)).digest
    assert source_fingerprint(getattr(job, name)).digest == before

    change(job)

    assert source_fingerprint(getattr(job, name)).digest != before


def test_what_does_not_count_does_not_make_it_look_again(job, monkeypatch):
    before = code_fingerprint(job.step)
    job.tools.unrelated = job.another = 1
    job.tools.Config.get.note = "not read"
    monkeypatch.setattr(Walk, "fingerprint", lambda _: pytest.fail("walked again"))

    assert code_fingerprint(job.step) is before


def test_a_change_taken_back_gives_the_first_fingerprint_again(job):
    before = code_fingerprint(job.step).digest
    job.NAMES.append("b")
    code_fingerprint(job.step)
    job.NAMES.pop()

    assert code_fingerprint(job.step).digest == before


def test_a_guard_that_cannot_look_any_more_does_not_hold(job):
    before = code_fingerprint(job.step)
    job.NAMES.append(threading.Lock())

    assert code_fingerprint(job.step).unresolved != before.unresolved


def test_functions_are_not_kept_alive_by_their_fingerprints():
    def make(n):
        def step(x, known=[1]):  # noqa: B006
            return x * n

        return step

    step = make([2])
    source_fingerprint(step), code_fingerprint(step)
    gone = weakref.ref(step)
    del step
    gc.collect()

    assert gone() is None


def test_many_threads_get_one_answer(job):
    answers: list[bytes] = []
    start = threading.Barrier(8)

    def ask():
        start.wait()
        for _ in range(20):
            answers.append(code_fingerprint(job.step).digest)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    before, _ = sys.getswitchinterval(), sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    assert len(answers) == 160
    assert len(set(answers)) == 1
