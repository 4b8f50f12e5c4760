"""Source texts, and the places in them that loaded code was compiled from.

A text is a hint, the loaded code object is the truth: a text is believed only where compiling it gives that very code
object. So a file that was edited after its import, or a stale compiled file, is never taken for the code that runs.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys
from collections.abc import Iterator, Mapping
from importlib._bootstrap_external import MAGIC_NUMBER, cache_from_source
from types import CodeType
from typing import NamedTuple

from flowstone.fingerprints.stamps import Stamp, stamp_of, surely_after
from flowstone.fingerprints.syntax import first_line

_FUTURES = 0x1FF0000  # the flags that `from __future__ import` leaves in code objects
_PYTEST = "@pytest_ar"  # the name by which rewritten code calls pytest
_KEPT = 4  # texts of one file that are kept: code loaded from an earlier one still finds it

_SIMPLE = frozenset(
    {ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Import, ast.ImportFrom, ast.Raise, ast.Assert}
    | {ast.Pass, ast.Break, ast.Continue, ast.Delete, ast.Global, ast.Nonlocal}
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Place(NamedTuple):
    """A definition in a text, with the definitions around it from outside in."""

    node: Definition | ast.Lambda
    around: tuple[Definition, ...]

    @property
    def in_class(self) -> bool:
        return bool(self.around) and isinstance(self.around[-1], ast.ClassDef)

    @property
    def class_name(self) -> str:
        """The innermost class around, by which Python mangles private names."""
        return next((node.name for node in reversed(self.around) if isinstance(node, ast.ClassDef)), "")


class Text:
    """One version of the text of one file, parsed and compiled when that is first needed.

    `stamp` tells the state of the file it was read from; None for a text that is in no file.
    """

    def __init__(self, filename: str, content: bytes | str, stamp: Stamp | None) -> None:
        self.filename = filename
        self.content = content
        self.stamp = stamp
        self._tree: ast.Module | None = None
        self._definitions: dict[tuple[int, str], Place] = {}
        self._classes: dict[str, list[Place]] = {}
        self._codes: dict[int, set[CodeType]] = {}
        self._published: set[CodeType] | None = None
        self._by_pytest: set[CodeType] | None = None

    @property
    def tree(self) -> ast.Module:
        if self._tree is None:
            self._tree = ast.parse(self.content, self.filename)
            self._index(self._tree.body, ())
        return self._tree

    def _index(self, statements: list[ast.stmt], around: tuple[Definition, ...]) -> None:
        for node in statements:
            kind = type(node)
            if kind in _SIMPLE:
                continue
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._definitions[first_line(node), node.name] = Place(node, around)
                self._index(node.body, (*around, node))
            elif isinstance(node, ast.ClassDef):
                self._classes.setdefault(_qualified(node, around), []).append(Place(node, around))
                self._index(node.body, (*around, node))
            else:
                for block in _blocks(node):
                    self._index(block, around)

    def holds(self, code: CodeType) -> bool:
        """Whether compiling this text gives this code object."""
        if self._published is None:
            self._published = set(self._in_compiled_files())
        if code in self._published or code in self._compiled(code.co_flags & _FUTURES):
            return True
        return _PYTEST in code.co_names and code in self._rewritten_by_pytest()

    def _compiled(self, flags: int) -> set[CodeType]:
        if flags not in self._codes:
            try:  # the tree gives the same code as the text, for less
                top = compile(self.tree, self.filename, "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
            except (SyntaxError, ValueError, RecursionError):
                self._codes[flags] = set()
            else:
                self._codes[flags] = set(_nested(top))
        return self._codes[flags]

    def _rewritten_by_pytest(self) -> set[CodeType]:
        """Return the code that this text gives when pytest has rewritten its assertions, as pytest itself does it."""
        pytest_rewrite = sys.modules.get("_pytest.assertion.rewrite")
        if self._by_pytest is None and pytest_rewrite is not None:
            self._by_pytest = set()
            for hook in sys.meta_path:
                if type(hook).__module__ == "_pytest.assertion.rewrite" and isinstance(self.content, bytes):
                    tree = ast.parse(self.content, self.filename)
                    pytest_rewrite.rewrite_asserts(tree, self.content, self.filename, getattr(hook, "config", None))
                    self._by_pytest.update(_nested(compile(tree, self.filename, "exec", 0, True)))
        return self._by_pytest or set()

    def _in_compiled_files(self) -> Iterator[CodeType]:
        """Give the code of the compiled files that were surely made from this text, also by hooks that rewrite it."""
        if self.stamp is None:
            return
        for path in _compiled_files(self.filename):
            try:
                with open(path, "rb") as file:
                    written = os.fstat(file.fileno()).st_mtime_ns
                    content = file.read()
                if _made_from(content, written, self.stamp):
                    yield from _nested(marshal.loads(memoryview(content)[16:]))
            except (OSError, ValueError, EOFError, TypeError, AttributeError):
                continue

    def place(self, code: CodeType) -> Place | None:
        """Return the definition that a code object was compiled from, if this text has it."""
        tree = self.tree
        if not self.holds(code):
            return None
        if code.co_name == "<lambda>":
            return _lambda_place(tree, code)
        return self._definitions.get((code.co_firstlineno, code.co_name))

    def class_places(self, qualname: str) -> list[Place]:
        """Return the places that define a class of this name, in their order."""
        return self._classes.get(qualname, []) if self.tree else []


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if block:
            yield block
    for field in ("handlers", "cases"):
        for part in getattr(node, field, ()):
            yield part.body


def _qualified(node: ast.ClassDef, around: tuple[Definition, ...]) -> str:
    names: list[str] = []
    for outer in around:
        names += [outer.name] if isinstance(outer, ast.ClassDef) else [outer.name, "<locals>"]
    return ".".join([*names, node.name])


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _compiled_files(filename: str) -> list[str]:
    try:
        folder = os.path.dirname(cache_from_source(filename))
        stem = os.path.splitext(os.path.basename(filename))[0] + "."
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(stem)]
    except (OSError, NotImplementedError):
        return []


def _made_from(content: bytes, written: int, stamp: Stamp) -> bool:
    size, mtime, _, _ = stamp
    if content[:4] != MAGIC_NUMBER or content[4:8] != b"\0\0\0\0" or not surely_after(written, stamp):
        return False
    seconds, length = int.from_bytes(content[8:12], "little"), int.from_bytes(content[12:16], "little")
    return seconds == mtime // 1_000_000_000 & 0xFFFFFFFF and length == size & 0xFFFFFFFF


def _lambda_place(tree: ast.Module, code: CodeType) -> Place | None:
    """Find a lambda among those that begin on its line, by the columns of its instructions."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    if len(found) > 1:
        spans = [span for span in code.co_positions() if None not in span and span[2] != span[3]]
        found = [node for node in found if spans and all(_covers(node.body, span) for span in spans)]
        found.sort(key=lambda node: (node.end_lineno, node.end_col_offset, -node.lineno, -node.col_offset))
    return Place(found[0], _around(tree, found[0])) if found else None


def _covers(node: ast.expr, span: tuple[int | None, int | None, int | None, int | None]) -> bool:
    line, end_line, column, end_column = span
    return (node.lineno, node.col_offset) <= (line, column) and (end_line, end_column) <= (
        node.end_lineno,
        node.end_col_offset,
    )


def _around(tree: ast.Module, target: ast.Lambda) -> tuple[Definition, ...]:
    """Return the definitions around a lambda, from outside in."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, Definition) and any(inner is target for inner in ast.walk(node))
    ]
    return tuple(sorted(around, key=lambda node: (node.lineno, node.col_offset)))


_by_file: dict[str, list[Text]] = {}  # the texts read so far, newest first


def texts_of(filename: str, namespace: Mapping[str, object]) -> list[Text]:
    """Return the versions of a file's text that are known, the current one first."""
    known = _by_file.setdefault(filename, [])
    stamp = stamp_of(filename)
    if stamp is not None:
        if not known or known[0].stamp != stamp:
            _remember(known, _read(filename))
        return list(known)
    content = _without_file(filename, namespace)
    if content and (not known or known[0].content != content):
        _remember(known, Text(filename, content, None))
    return list(known)


def _read(filename: str) -> Text | None:
    for _ in range(3):  # until nobody wrote to it meanwhile
        stamp = stamp_of(filename)
        try:
            with open(filename, "rb") as file:
                content = file.read()
        except OSError:
            return None
        if stamp is not None and stamp == stamp_of(filename):
            return Text(filename, content, stamp)
    return None


def _remember(known: list[Text], text: Text | None) -> None:
    if text is not None:
        known.insert(0, text)
        del known[_KEPT:]


def _without_file(filename: str, namespace: Mapping[str, object]) -> str:
    """Find the text of a module in an archive, of a notebook's cell, or of interactive input."""
    loader, name = namespace.get("__loader__"), namespace.get("__name__")
    get_source = getattr(loader, "get_source", None)
    if get_source is not None and namespace.get("__file__") == filename:
        try:
            return get_source(name) or ""
        except (ImportError, OSError):
            return ""
    linecache = sys.modules.get("linecache")  # who registers texts there has imported it
    return "".join(linecache.getlines(filename)) if linecache is not None else ""
