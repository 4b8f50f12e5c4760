"""What one function or class says by itself: the digest of its normal form, and the names it reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from flowstone.fingerprints import memo
from flowstone.fingerprints.bytecode import bytecode_digest, bytecode_refs
from flowstone.fingerprints.decorators import Decorators
from flowstone.fingerprints.identity import ByIdentity
from flowstone.fingerprints.refs import Ref
from flowstone.hashing import combine

if TYPE_CHECKING:
    from flowstone.fingerprints.normal import Form
    from flowstone.fingerprints.texts import Place, Text


class Analysis:
    """The digest of a form, the names it reads, the digests of its default expressions, and how to show it.

    `decorators` tells which names were looked up to know flowstone's own decorators, and whether they were.
    """

    __slots__ = ("_show", "decorators", "defaults", "digest", "file", "line", "refs")

    def __init__(
        self,
        digest: bytes,
        refs: tuple[Ref, ...],
        *,
        defaults: Mapping[str, bytes],
        decorators: Mapping[str, bool],
        place: tuple[str, int],
        show: Callable[[], str],
    ) -> None:
        self.digest = digest
        self.refs = refs
        self.defaults = defaults
        self.decorators = decorators
        self.file, self.line = place
        self._show = show

    def show(self) -> str:
        return self._show()


_kept: ByIdentity[Analysis] = ByIdentity()


def analyse_function(fn: FunctionType) -> Analysis:
    """Return what a function's code says, from its source if there is one that it was really compiled from."""
    code = fn.__code__
    kept = _kept.get(code)
    if kept is not None:
        return kept
    found = _remembered(code, fn.__globals__) or _from_source(code, fn.__globals__) or _from_bytecode(code)
    return _kept.keep(code, found)


def _remembered(code: CodeType, namespace: dict[str, Any]) -> Analysis | None:
    stored = memo.function(code, namespace)
    if stored is None:
        return None
    return Analysis(
        stored.digest,
        stored.refs,
        defaults=stored.defaults,
        decorators=stored.decorators,
        place=(code.co_filename, code.co_firstlineno),
        show=partial(show_function, code, namespace),
    )


def _from_source(code: CodeType, namespace: dict[str, Any]) -> Analysis | None:
    found = _find(code, namespace)
    if found is None:
        return None
    from flowstone.fingerprints.normal import function_form

    text, place = found
    decorators = Decorators(text, place, namespace)
    try:
        form = function_form(place.node, decorators.is_ours, place.class_name, place.in_class)  # type: ignore[arg-type]
    except (ValueError, RecursionError):  # a tree too deep for Python to walk
        return None
    analysis = from_form(
        form, decorators, (text.filename, code.co_firstlineno), partial(show_function, code, namespace)
    )
    if text.stamp is not None:
        memo.keep_function(code, text.stamp, analysis)
    return analysis


def _find(code: CodeType, namespace: dict[str, Any]) -> tuple[Text, Place] | None:
    from flowstone.fingerprints.texts import texts_of  # which needs `ast`, dear to import and often not needed

    for text in texts_of(code.co_filename, namespace):
        try:
            place = text.place(code)
        except (SyntaxError, ValueError, RecursionError):
            continue
        if place is not None:
            return text, place
    return None


def from_form(form: Form, decorators: Decorators, place: tuple[str, int], show: Callable[[], str]) -> Analysis:
    """Return the analysis that a normal form gives."""
    return Analysis(
        _text_digest(form.text),
        form.refs,
        defaults={name: _text_digest(default) for name, default in form.defaults.items()},
        decorators=decorators.looked_up,
        place=place,
        show=show,
    )


def _text_digest(text: str) -> bytes:
    return combine("source", [("", text.encode("utf-8", "surrogatepass"))])


def show_function(code: CodeType, namespace: dict[str, Any]) -> str:
    """Return the source of a function in its normal layout, if it can still be had."""
    found = _find(code, namespace)
    if found is None:
        return f"<the source of {code.co_qualname} is gone>"
    return show_place(*found, namespace)


def show_place(text: Text, place: Place, namespace: Mapping[str, Any]) -> str:
    """Return a definition in its normal layout, without what does not count."""
    import ast
    import copy

    decorators = Decorators(text, place, namespace)
    node = copy.copy(place.node)
    if not isinstance(node, ast.Lambda):
        node.decorator_list = [item for item in node.decorator_list if not decorators.is_ours(item)]
    return ast.unparse(node)


def _from_bytecode(code: CodeType) -> Analysis:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Analysis(
        bytecode_digest(code),
        bytecode_refs(code),
        defaults={},
        decorators={},
        place=(code.co_filename, code.co_firstlineno),
        show=lambda: f"<{code.co_qualname}: no source, bytecode of Python {version}>",
    )
