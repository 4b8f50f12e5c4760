"""The sources of classes.

A class keeps no code object of its own body. So a text is believed to be its source where the code of its methods was
compiled from it; without methods, where it fits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from flowstone.fingerprints import memo
from flowstone.fingerprints.analysis import Analysis, from_form, show_place
from flowstone.fingerprints.decorators import Decorators
from flowstone.fingerprints.identity import ByIdentity
from flowstone.fingerprints.plainly import attribute
from flowstone.hashing import combine

if TYPE_CHECKING:
    from flowstone.fingerprints.texts import Place, Text

PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset)

# Where descriptors, wrappers and tasks keep their functions.
_INSIDE = ("__func__", "fget", "fset", "fdel", "func", "dispatcher", "__wrapped__", "fn")


class ClassText:
    """The analysis of a class's source, its lines, and which code objects were compiled from it.

    `repeated` names what the source defines more than once, so that the text alone does not tell which one is meant.
    """

    __slots__ = ("analysis", "holds", "lines", "repeated")

    def __init__(
        self,
        analysis: Analysis,
        lines: tuple[int, int],
        repeated: tuple[str, ...],
        holds: Callable[[CodeType], bool],
    ) -> None:
        self.analysis = analysis
        self.lines = lines
        self.repeated = repeated
        self.holds = holds

    def includes(self, fn: FunctionType) -> bool:
        """Whether a function was compiled from the source of this class."""
        code, (first, last) = fn.__code__, self.lines
        return code.co_filename == self.analysis.file and first <= code.co_firstlineno <= last and self.holds(code)

    def tells(self, name: str, fn: FunctionType) -> bool:
        """Whether the source says all about the code that a class has under a name."""
        written = fn.__code__.co_name
        return (name == written or name.endswith(f"_{written}")) and name not in self.repeated and self.includes(fn)


_kept: ByIdentity[tuple[tuple[int, ...], ClassText | None]] = ByIdentity()  # with the state of its functions then


def class_text(kind: type) -> ClassText | None:
    """Return the source of a class, if there is one that its methods were compiled from."""
    functions = [fn for entry in vars(kind).values() for fn in functions_in(entry)]
    state = tuple(id(fn.__code__) for fn in functions)
    kept = _kept.get(kind)
    if kept is None or kept[0] != state:
        kept = _kept.keep(kind, (state, _find_text(kind, [fn for fn in functions if _is_written_in(fn, kind)])))
    return kept[1]


def _is_written_in(fn: FunctionType, kind: type) -> bool:
    return fn.__code__.co_qualname == f"{kind.__qualname__}.{fn.__code__.co_name}"


def _find_text(kind: type, functions: list[FunctionType]) -> ClassText | None:
    module = sys.modules.get(kind.__module__)
    namespace = functions[0].__globals__ if functions else vars(module) if module is not None else {}
    filename = functions[0].__code__.co_filename if functions else namespace.get("__file__")
    if not isinstance(filename, str):
        return None
    identity = _identity(kind, functions)
    return _remembered(kind, filename, identity, namespace) or _read(kind, filename, identity, functions, namespace)


def _identity(kind: type, functions: list[FunctionType]) -> bytes:
    """Return a digest of what of a class tells that it was made from a certain place in a file."""
    own = vars(kind)
    names = "\0".join([kind.__qualname__, str(own.get("__firstlineno__")), *sorted(own.get("__annotations__") or ())])
    codes = [("code", memo.code_identity(fn.__code__)) for fn in functions]
    return combine("class identity", [("names", names.encode("utf-8", "surrogatepass")), *codes])


def _remembered(kind: type, filename: str, identity: bytes, namespace: Mapping[str, Any]) -> ClassText | None:
    stored = memo.class_(filename, identity, namespace)
    if stored is None:
        return None
    analysis = Analysis(
        stored.digest,
        stored.refs,
        defaults={},
        decorators=stored.decorators,
        place=(filename, stored.lines[0]),
        show=partial(_show, kind, filename, namespace),
    )
    return ClassText(analysis, stored.lines, stored.repeated, lambda code: memo.code_identity(code) in stored.codes)


def _read(
    kind: type, filename: str, identity: bytes, functions: list[FunctionType], namespace: Mapping[str, Any]
) -> ClassText | None:
    from flowstone.fingerprints.normal import class_form
    from flowstone.fingerprints.syntax import first_line, repeated_names

    for text, place in _places(kind, filename, namespace):
        decorators = Decorators(text, place, namespace)
        try:
            form = class_form(place.node, decorators.is_ours)  # type: ignore[arg-type]
        except (ValueError, RecursionError):
            continue
        where = (filename, first_line(place.node))  # type: ignore[arg-type]
        analysis = from_form(form, decorators, where, partial(_show, kind, filename, namespace))
        repeated = repeated_names(place.node)  # type: ignore[arg-type]
        found = ClassText(analysis, (where[1], place.node.end_lineno or where[1]), repeated, text.holds)
        if not (found.includes(functions[0]) if functions else _fits(kind, place)):
            continue
        if text.stamp is not None:
            codes = tuple(memo.code_identity(fn.__code__) for fn in functions if found.includes(fn))
            looked_up = dict(decorators.looked_up)
            stored = memo.StoredClass(analysis.digest, analysis.refs, looked_up, found.lines, repeated, codes)
            memo.keep_class(filename, text.stamp, identity, stored)
        return found
    return None


def _places(kind: type, filename: str, namespace: Mapping[str, Any]) -> Iterator[tuple[Text, Place]]:
    from flowstone.fingerprints.texts import texts_of

    for text in texts_of(filename, namespace):
        try:
            yield from ((text, place) for place in reversed(text.class_places(kind.__qualname__)))
        except (SyntaxError, ValueError, RecursionError):
            continue


def _show(kind: type, filename: str, namespace: Mapping[str, Any]) -> str:
    for text, place in _places(kind, filename, namespace):
        return show_place(text, place, namespace)
    return f"<the source of {kind.__qualname__} is gone>"


def _fits(kind: type, place: Place) -> bool:
    """Whether a class without methods may come from this place: by its first line, or by the names it annotates."""
    from flowstone.fingerprints.syntax import annotated_names, first_line

    first = vars(kind).get("__firstlineno__")
    if first is not None:
        return bool(first == first_line(place.node))  # type: ignore[arg-type]
    return annotated_names(place.node) == set(vars(kind).get("__annotations__") or ())  # type: ignore[arg-type]


def functions_in(entry: object) -> Iterator[FunctionType]:
    """Give the Python functions that an entry of a class's namespace consists of."""
    kind = type(entry)
    if kind is FunctionType:
        yield entry  # type: ignore[misc]
        return
    if kind in PLAIN or issubclass(kind, type):
        return
    for name in _INSIDE:
        inner = attribute(entry, name)
        if inner is not None and inner is not entry:
            yield from functions_in(inner)
