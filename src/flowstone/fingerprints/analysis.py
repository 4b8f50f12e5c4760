"""What one function or class says by itself: the digest of its normal form, and the names it reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from weakref import ref

from flowstone.fingerprints.bytecode import bytecode_digest, bytecode_refs
from flowstone.fingerprints.decorators import decorator_test
from flowstone.fingerprints.refs import Ref
from flowstone.hashing import combine

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

    from flowstone.fingerprints.normal import Form
    from flowstone.fingerprints.texts import Place, Text


class Analysis:
    """The digest of a form, the names it reads, the digests of its default expressions, and how to show it."""

    __slots__ = ("_show", "defaults", "digest", "file", "line", "refs")

    def __init__(
        self,
        digest: bytes,
        refs: tuple[Ref, ...],
        *,
        defaults: Mapping[str, bytes],
        file: str,
        line: int,
        show: Callable[[], str],
    ) -> None:
        self.digest = digest
        self.refs = refs
        self.defaults = defaults
        self.file = file
        self.line = line
        self._show = show

    def show(self) -> str:
        return self._show()


class _Kept:
    """Analyses by the identity of the code object; an entry goes when its code object does."""

    by_code: dict[int, tuple[ref[CodeType], Analysis]] = {}


def analyse_function(fn: FunctionType) -> Analysis:
    """Return what a function's code says, from its source if there is one that it was really compiled from."""
    code = fn.__code__
    kept = _Kept.by_code.get(id(code))
    if kept is not None and kept[0]() is code:
        return kept[1]
    analysis = _from_source(code, fn.__globals__) or _from_bytecode(code)
    key = id(code)
    _Kept.by_code[key] = (ref(code, lambda _: _Kept.by_code.pop(key, None)), analysis)
    return analysis


def _from_source(code: CodeType, namespace: dict[str, object]) -> Analysis | None:
    from flowstone.fingerprints.normal import function_form
    from flowstone.fingerprints.texts import texts_of

    for text in texts_of(code.co_filename, namespace):
        try:
            place = text.place(code)
            if place is None:
                continue
            is_ours = decorator_test(text, place, namespace)
            form = function_form(place.node, is_ours, place.class_name, place.in_class)  # type: ignore[arg-type]
        except (SyntaxError, ValueError, RecursionError):
            continue
        return _analysis(form, text, place, code.co_firstlineno, is_ours)
    return None


def analyse_class(text: Text, place: Place, namespace: Mapping[str, object]) -> Analysis | None:
    """Return what a class says in its source; None if it is too deep to be walked."""
    from flowstone.fingerprints.normal import class_form

    is_ours = decorator_test(text, place, namespace)
    try:
        form = class_form(place.node, is_ours)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        return None
    return _analysis(form, text, place, place.node.lineno, is_ours)


def _analysis(form: Form, text: Text, place: Place, line: int, is_ours: Callable[[ast.expr], bool]) -> Analysis:
    return Analysis(
        _text_digest(form.text),
        form.refs,
        defaults={name: _text_digest(default) for name, default in form.defaults.items()},
        file=text.filename,
        line=line,
        show=lambda: _shown(place, is_ours),
    )


def _text_digest(text: str) -> bytes:
    return combine("source", [("", text.encode("utf-8", "surrogatepass"))])


def _shown(place: Place, is_ours: Callable[[ast.expr], bool]) -> str:
    import ast
    import copy

    node = copy.copy(place.node)
    if not isinstance(node, ast.Lambda):
        node.decorator_list = [item for item in node.decorator_list if not is_ours(item)]
    return ast.unparse(node)


def _from_bytecode(code: CodeType) -> Analysis:
    return Analysis(
        bytecode_digest(code),
        bytecode_refs(code),
        defaults={},
        file=code.co_filename,
        line=code.co_firstlineno,
        show=lambda: (
            f"<{code.co_name}: no source, bytecode of Python {sys.version_info.major}.{sys.version_info.minor}>"
        ),
    )
