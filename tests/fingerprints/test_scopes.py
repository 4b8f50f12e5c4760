"""Which names code reads from outside, by Python's own rules."""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from flowstone.fingerprints.normal import class_form, function_form
from flowstone.fingerprints.texts import Text

SAMPLES = ["argparse", "ast", "contextlib", "dataclasses", "functools", "inspect", "statistics", "tarfile", "typing"]


def refs(text: str) -> set[tuple[str, ...]]:
    (node,) = ast.parse(text).body
    in_class = isinstance(node, ast.ClassDef) and len(node.body) == 1 and isinstance(node.body[0], ast.FunctionDef)
    if in_class:
        form = function_form(node.body[0], lambda _: False, node.name, True)
    elif isinstance(node, ast.ClassDef):
        form = class_form(node, lambda _: False)
    else:
        form = function_form(node, lambda _: False)
    return {(kind, ".".join((root, *chain)) if kind != "dynamic" else root) for kind, root, chain in form.refs}


def names(text: str) -> set[str]:
    return {name for kind, name in refs(text) if not kind.startswith("changed")}


READS = {
    "def f(x): return x + y": {"y"},
    "def f(): return a.b.c(d.e)": {"a.b.c", "d.e"},
    "def f(): a.b = 1": set(),
    "def f(): a.b += 1": {"a.b"},
    "def f():\n    x = 1\n    return x": set(),
    "def f():\n    global x\n    x = 1": set(),
    "def f():\n    global x\n    return x": {"x"},
    "def f():\n    global x\n    x += 1": {"x"},
    "def f():\n    x = 1\n    def g():\n        nonlocal x\n        return x": set(),
    "def f():\n    def g():\n        nonlocal x\n        return x": {"x"},
    "def f():\n    def g(): return y\n    y = 1": set(),
    "def f(): return [x for x in y if z]": {"y", "z"},
    "def f(): return [(x := y) for y in z], x": {"z"},
    "def f(): return (lambda x, y=z: x + y + w)": {"z", "w"},
    "def f():\n    for x in y: pass\n    return x": {"y"},
    "def f():\n    with a as b: return b": {"a"},
    "def f():\n    try: pass\n    except E as e: return e": {"E"},
    "def f():\n    import a.b\n    return a.b.c": {"a.b.c"},
    "def f():\n    import a.b as c\n    return c.d": {"a.b.d"},
    "def f():\n    from .a import b as c\n    return c.d": {".a.b.d"},
    "def f():\n    from a import b": set(),
    "def f():\n    class A:\n        x = 1\n        def g(self): return x": {"x"},
    "def f():\n    class A(B, m=C):\n        y = x": {"B", "C", "x"},
    "def f(x: 'A[b.C]') -> D: pass": {"A", "b.C", "D"},
    "def f():\n    x: A = 1": set(),
    "def f(x):\n    match x:\n        case A(b=c) as d: return c, d\n        case [*e]: return e\n        case {**g}: return g": {
        "A"
    },
    "@a.b(c)\ndef f(): pass": {"a.b", "c"},
    "def f(x=y): pass": set(),
    "def f(): return getattr(a, 'b')": {"getattr", "a.b"},
    "def f(): return getattr(a.b, 'c', d)": {"getattr", "a.b.c", "d"},
    "def f(): return globals()['a']": {"globals", "a"},
    "def f(a): return globals()['a']": {"globals", "a"},
    "def f(): return import_module('a.b').c": {"import_module", "a.b.c"},
    "def f(): return sys.modules['a']": {"sys.modules", "a"},
    "def f(): return f'{a:{b}}'": {"a", "b"},
    "class A:\n    def f(self): return self.x.y, self.z()": {"self.x", "self.z"},
    "class A:\n    def f(self): return g(self)": {"self", "g"},
    "class A:\n    def f(self): self.x = y": {"y"},
    "class A:\n    def f(self): return self.__x, __y": {"self._A__x", "_A__y"},
    "class A:\n    def f(this): return [this.x for _ in y]": {"this.x", "y"},
    "class A:\n    @staticmethod\n    def f(x): return x.y": {"staticmethod"},
    "class A:\n    def f(self): return super().x()": {"super", "super.x"},
    "class A:\n    def f(self):\n        def self(): pass": set(),
    "class A(B):\n    x = y\n    z: C\n    def f(self): return self.x, D": {"B", "y", "C", "D"},
    "class A:\n    x = x": {"x"},
}


@pytest.mark.parametrize(("text", "expected"), READS.items())
def test_code_reads(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): return getattr(x, y)",
        "def f(x): return hasattr(a, y)",
        "def f(x): return eval(x)",
        "def f(x): exec(x)",
        "def f(x): return globals()",
        "def f(x): return __import__(x)",
        "def f(x): return importlib.import_module(x)",
        "def f(x): return importlib.import_module('.a', x)",
        "def f(x): return sys.modules[x]",
    ],
)
def test_what_is_only_known_when_it_runs_is_told(text):
    assert [name for kind, name in refs(text) if kind == "dynamic"]


def read_by_bytecode(code: CodeType, free: frozenset[str]) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") or (
            instruction.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
            and instruction.argval in free
        ):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from read_by_bytecode(constant, free & frozenset(constant.co_freevars))


def functions_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 1 and (not constant.co_name.startswith("<") or constant.co_name == "<lambda>"):
                yield constant
            yield from functions_in(constant)


@pytest.mark.parametrize("module", SAMPLES)
def test_no_name_that_bytecode_reads_is_missed(module):
    path = Path(sys.modules.get(module, __import__(module)).__file__)
    text = Text(str(path), path.read_bytes(), None)
    checked = 0
    for code in functions_in(compile(path.read_bytes(), str(path), "exec", dont_inherit=True)):
        place = text.place(code)
        if place is None or any(isinstance(node, ast.ClassDef) for node in ast.walk(place.node)):
            continue  # bodies of classes read what they bound by the same instruction
        form = function_form(place.node, lambda _: False, place.class_name, place.in_class)
        known = {root for kind, root, _ in form.refs if kind not in ("import", "dynamic", "self")}
        assert set(read_by_bytecode(code, frozenset(code.co_freevars))) - {"__class__"} <= known, code.co_qualname
        checked += 1
    assert checked > 10
