"""The normal form forgets layout and nothing else."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.fingerprints.normal import class_form, function_form

SAMPLES = ["argparse", "ast", "contextlib", "dataclasses", "doctest", "inspect", "statistics", "tarfile", "typing"]


def nobody(_):
    return False


def forms(text: str | bytes) -> list[tuple[str, str]]:
    """Names and forms of all functions and classes in a text, in order."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            found.append((node.name, class_form(node, nobody).text))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            form = function_form(node, nobody)
            found.append((getattr(node, "name", "<lambda>"), form.text + repr(form.defaults)))
    return found


def form(text: str) -> str:
    return forms(text)[0][1]


@pytest.mark.parametrize(
    "options",
    [
        [],
        [
            "--config",
            "line-length=40",
            "--config",
            "format.quote-style='single'",
            "--config",
            "format.indent-style='tab'",
        ],
    ],
    ids=["usual", "narrow-single-quotes-tabs"],
)
def test_a_formatter_changes_no_form(tmp_path: Path, options):
    ruff = Path(sys.prefix) / "bin" / "ruff"
    command = str(ruff) if ruff.exists() else shutil.which("ruff")
    originals = {}
    for name in SAMPLES:
        source = Path(sys.modules.get(name, __import__(name)).__file__).read_bytes()
        (tmp_path / f"{name}.py").write_bytes(source)
        originals[name] = forms(source)

    subprocess.run([command, "format", "--isolated", "-q", *options, str(tmp_path)], check=True)

    for name, before in originals.items():
        assert forms((tmp_path / f"{name}.py").read_bytes()) == before


SAME = {
    "import a, b as c": "import a\n    import b as c",
    "del (a, b), c": "del a, b, c",
    "x = u'a' 'b'": 'x = "ab"',
    "f'{x}' 'y' f'{z:{w}}'": 'f"{x}y{z:{w}}"',
    "f'{x:}'": "f'{x}'",
    "x = (yield)": "x = yield",
    "return (1, 2)": "return 1, 2",
    "if (a := b): pass": "if a := b:\n        pass",
    "with (a as b, c): ...": "with a as b, c:\n        ...",
    "x = 0xF_F + 1E2": "x = 255 + 100.0",
    "x = a.b.c": "x = (a.b).c",
    "'just said'": "'''just said   '''",
}
DIFFERENT = {
    "a or b": "a and b",
    "x = 1": "x = True",
    "x = 1.0": "x = 1",
    "x = 'a'": "x = b'a'",
    "x = ''": "x = None",
    "x = 0.0": "x = -0.0",
    "x = 1j": "x = '1j'",
    "x = '1:a'": "x = ('a',)",
    "x = ...": "x = 'Ellipsis'",
    "x = a.b": "x = a['b']",
    "x = (a, b)": "x = [a, b]",
    "x = f'{a}b'": "x = f'{a}' + 'b'",
    "x = f'{a!r}'": "x = f'{a!s}'",
    "x = f'{a}{b}'": "x = f'{b}{a}'",
    "x = a(b, c)": "x = a(b)(c)",
    "x = a(*b)": "x = a(b)",
    "x = a(**b)": "x = a(*b)",
    "x = {**a}": "x = {None: a}",
    "x = {a: b}": "x = {b: a}",
    "x: int": "x: str",
    "x: int = 1": "x = 1",
    "for x in y: a\n    else: b": "for x in y: a\n    b",
    "try: a\n    except E: b": "try: a\n    except* E: b",
    "try: a\n    finally: b": "try: a\n    except: b",
    "raise A": "raise A from None",
    "import a": "import a as b",
    "from a import b": "from .a import b",
    "global a": "nonlocal a",
    "[x for x in y if x]": "{x for x in y if x}",
    "[x for x in y for z in w]": "[x for z in w for x in y]",
    "[await x async for x in y]": "[await x for x in y]",
    "assert a": "assert a, b",
    "lambda x: x": "lambda x, /: x",
    "lambda *x: x": "lambda **x: x",
    "x = a if b else c": "x = c if b else a",
    "x[1:2]": "x[1, 2]",
    "x[1:2:]": "x[1:2:3]",
    "match x:\n        case [a, *_]: b": "match x:\n        case [a]: b",
    "match x:\n        case None: b": "match x:\n        case True: b",
    "match x:\n        case A(b=c): b": "match x:\n        case A(c=b): b",
    "x @ y": "x * y",
    "not x": "~x",
    "x = 'a\\nb'": "x = 'a\\n b'",
}


def body(text: str) -> str:
    return f"async def f():\n    1\n    {text}\n"


@pytest.mark.parametrize(("one", "other"), SAME.items())
def test_these_are_the_same(one, other):
    assert form(body(one)) == form(body(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT.items())
def test_these_differ(one, other):
    assert form(body(one)) != form(body(other))


HEADS = [
    "def f(): pass",
    "async def f(): pass",
    "def g(): pass",
    "def f(a): pass",
    "def f(a, /): pass",
    "def f(*a): pass",
    "def f(*, a): pass",
    "def f(**a): pass",
    "def f(a: int): pass",
    "def f(a) -> int: pass",
    "@b\ndef f(): pass",
    "@b()\ndef f(): pass",
    "@b\n@c\ndef f(): pass",
    "@c\n@b\ndef f(): pass",
    "def f():\n    'doc'",
    "def f():\n    'dok'",
    "def f(a=1): pass",
    "def f(a=2): pass",
    "class f: pass",
    "class f(a): pass",
    "class f(a=b): pass",
    "class f(metaclass=b): pass",
    "class f:\n    a: int",
    "class f:\n    a: int = 1",
    "class f:\n    a = 1",
]


def test_no_two_heads_are_the_same():
    assert len({form(head) for head in HEADS}) == len(HEADS)


DOCS = ["One.", " One.", "One.  ", "\n    One.\n    ", "One.\n\n    Two.", "One.\n\n  Two.  ", "\tOne.\n\n\tTwo."]


def test_docstrings_differ_in_their_words_only():
    texts = {form(f"def f():\n    {doc!r}\n") for doc in DOCS}
    assert len(texts) == 2
    assert form("def f():\n    'One.\\n\\n    Two.\\n      Three.'") != form(
        "def f():\n    'One.\\n\\n    Two.\\n    Three.'"
    )


@given(st.text(), st.text())
def test_texts_are_told_apart_whatever_is_in_them(one, other):
    def with_text(value: str) -> str:
        return form(f"def f():\n    x = {value!r}, {value!r}\n")

    assert (with_text(one) == with_text(other)) == (one == other)


def test_flowstones_own_decorators_do_not_count_and_neither_do_those_inside():
    def ours(node: ast.expr) -> bool:
        return ast.unparse(node).startswith("task")

    def text(source: str) -> str:
        node = ast.parse(source).body[0]
        return (class_form(node, ours) if isinstance(node, ast.ClassDef) else function_form(node, ours)).text

    assert text("@task(x=1)\ndef f(): pass") == text("def f(): pass")
    assert text("@task\n@other\ndef f(): pass") == text("@other\ndef f(): pass") != text("def f(): pass")
    assert text("class A:\n    @task(retries=x)\n    def f(self): pass") == text(
        "class A:\n    @task\n    def f(self): pass"
    )
    assert text("def g():\n    @task(1)\n    def f(): pass") == text("def g():\n    @task(2)\n    def f(): pass")
