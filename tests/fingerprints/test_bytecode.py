"""Where there is no source, code objects tell as much."""

from __future__ import annotations

import pytest

from flowstone.fingerprints.bytecode import bytecode_digest, bytecode_refs


def code(text: str, **names):
    namespace = dict(names)
    exec(text, namespace)
    return namespace["f"].__code__


def digest(text: str) -> bytes:
    return bytecode_digest(code(text))


DIFFERENT = [
    "def f(): return 42",
    "def f(): return 43",
    "def f(): return 42.0",
    "def f(): return True",
    "def f(): return 1",
    "def f(): return '1'",
    "def f(): return a",
    "def f(): return b",
    "def f(x): return x",
    "def f(y): return y",
    "def f(*x): return x",
    "def f(): 'doc'",
    "def f(): return lambda: 1",
    "def f(): return lambda: 2",
    "def f(x): return x in {1, 2}",
    "def f(x): return x in {1, 3}",
    "def f():\n    try: a\n    except B: c",
    "def f():\n    try: a\n    except C: c",
    "async def f(): return 1",
    "def f(): yield 1",
]


def test_all_of_these_differ():
    assert len({digest(text) for text in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize("text", DIFFERENT)
def test_lines_and_comments_do_not_count(text):
    assert digest(f"\n\n# above\n{text}  # beside") == digest(text)


def test_code_that_is_not_run_on_this_python_alone_counts_apart(monkeypatch):
    before = digest("def f(): return 1")
    monkeypatch.setattr("flowstone.fingerprints.bytecode.MAGIC_NUMBER", b"other")
    assert digest("def f(): return 1") != before


READS = {
    "def f(): return a.b.c(d)": {"a.b.c", "d"},
    "def f(): a.b(); return c": {"a.b", "c"},
    "def f(): return [x.y for x in z.w]": {"z.w"},
    "def f(): return lambda: a.b": {"a.b"},
    "def f():\n    global x\n    x = y": {"x", "y"},
    "def f():\n    import a.b\n    from ..c import d": {"a.b", "..c"},
    "def f(x): return eval(x)": {"eval", "eval(...)"},
    "def make(n):\n    def f(): return n.m\n    return f\nf = make(1)": {"n.m"},
    "def make(n):\n    def f():\n        nonlocal n\n        n = 1\n    return f\nf = make(1)": {"n"},
}


@pytest.mark.parametrize(("text", "expected"), READS.items())
def test_names_are_read(text, expected):
    refs = bytecode_refs(code(text))
    assert {root if kind == "dynamic" else ".".join((root, *chain)) for kind, root, chain in refs} == expected
