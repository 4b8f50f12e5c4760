"""What was found out about source files, kept on disk, so that a new process need not parse and compile them again.

One sheet per source file and Python version. An entry is found by the very code object (with its line table) that it
was made for, and only while the source file has the stamp it had then: so neither an edit nor a stale compiled file
is mistaken. A sheet that is damaged, foreign or of another version is as good as none, and written anew.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Mapping
from importlib._bootstrap_external import MAGIC_NUMBER
from threading import get_ident
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from flowstone._version import VERSION
from flowstone.fingerprints.decorators import is_flowstones
from flowstone.fingerprints.identity import ByIdentity
from flowstone.fingerprints.refs import Ref
from flowstone.fingerprints.stamps import Stamp, stamp_of, surely_after

if TYPE_CHECKING:
    from flowstone.fingerprints.analysis import Analysis

_HEAD = (
    f"flowstone {VERSION} fingerprint memo 3\n".encode()
)  # another number for each change of what analyses say of the same code
_KEY = b"flowstone: memo of fingerprints".ljust(32, b".")
_MOST = 1000  # entries of one sheet; a file with more keeps the latest


class StoredFunction(NamedTuple):
    """What is kept of a function's analysis."""

    digest: bytes
    refs: tuple[Ref, ...]
    defaults: dict[str, bytes]
    decorators: dict[str, bool]


class StoredClass(NamedTuple):
    """What is kept of a class's analysis: its lines too, what it says twice, and the code objects in it."""

    digest: bytes
    refs: tuple[Ref, ...]
    decorators: dict[str, bool]
    lines: tuple[int, int]
    repeated: tuple[str, ...]
    codes: tuple[bytes, ...]


class _Sheet:
    """The entries for one state of one source file."""

    def __init__(self, stamp: Stamp, entries: dict[bytes, tuple[Any, ...]]) -> None:
        self.stamp = stamp
        self.entries = entries
        self.is_new = False


class _Memo:
    """The folder in use, and the sheets read from it."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.sheets: dict[str, _Sheet] = {}
        self.identities: ByIdentity[bytes] = ByIdentity()


_memo = _Memo()


def set_memo_dir(path: str | os.PathLike[str] | None) -> None:
    """Keep what is found out about source files in a folder; None for nowhere, as it is at first.

    The folder is made when there is something to write. It may be shared by processes, and deleted at any time.
    """
    _memo.folder = None if path is None else os.path.abspath(os.fspath(path))
    _memo.sheets = {}


def function(code: CodeType, namespace: Mapping[str, Any]) -> StoredFunction | None:
    """Return what is known of a function's code object, if its source file is as it was."""
    sheet = _sheet(code.co_filename)
    entry = sheet.entries.get(code_identity(code)) if sheet is not None else None
    if entry is None or len(entry) != len(StoredFunction._fields):
        return None
    stored = StoredFunction(*entry)
    return stored if _still_means_it(stored.decorators, namespace) else None


def keep_function(code: CodeType, stamp: Stamp, analysis: Analysis) -> None:
    """Note what was found out about a function, to be written by the next `flush`."""
    entry = (analysis.digest, analysis.refs, dict(analysis.defaults), dict(analysis.decorators))
    _keep(code.co_filename, stamp, code_identity(code), entry)


def class_(filename: str, identity: bytes, namespace: Mapping[str, Any]) -> StoredClass | None:
    """Return what is known of a class, if its source file is as it was."""
    sheet = _sheet(filename)
    entry = sheet.entries.get(identity) if sheet is not None else None
    if entry is None or len(entry) != len(StoredClass._fields):
        return None
    stored = StoredClass(*entry)
    return stored if _still_means_it(stored.decorators, namespace) else None


def keep_class(filename: str, stamp: Stamp, identity: bytes, stored: StoredClass) -> None:
    """Note what was found out about a class, to be written by the next `flush`."""
    _keep(filename, stamp, identity, tuple(stored))


def flush() -> None:
    """Write the sheets that have new entries; what cannot be written is forgotten."""
    if _memo.folder is None:
        return
    for filename, sheet in list(_memo.sheets.items()):
        if sheet.is_new:
            sheet.is_new = False
            try:
                _write(_memo.folder, filename, sheet)
            except OSError:
                continue  # a memo that cannot be kept costs time, nothing else


def code_identity(code: CodeType) -> bytes:
    """Return a digest of all that a code object is made of, its lines too, but for the name of its file."""
    known = _memo.identities.get(code)
    if known is None:
        known = _memo.identities.keep(code, blake3(_flat(code), key=_KEY).digest())
    return known


def _flat(code: CodeType) -> bytes:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_firstlineno)
    names = (code.co_name, code.co_qualname, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    constants = [_flat_constant(constant) for constant in code.co_consts]
    return marshal.dumps((code.co_code, code.co_linetable, code.co_exceptiontable, counts, names, constants), 2)


def _flat_constant(constant: Any) -> bytes:
    if isinstance(constant, CodeType):
        return b"c" + _flat(constant)
    if isinstance(constant, frozenset):
        return b"f" + marshal.dumps(sorted(map(_flat_constant, constant)), 2)
    return b"v" + marshal.dumps(constant, 2)


def _still_means_it(decorators: Mapping[str, bool], namespace: Mapping[str, Any]) -> bool:
    return all(is_flowstones(namespace, name) == ours for name, ours in decorators.items())


def _keep(filename: str, stamp: Stamp, identity: bytes, entry: tuple[Any, ...]) -> None:
    sheet = _sheet(filename)
    if sheet is None or sheet.stamp != stamp:
        return
    sheet.entries[identity] = entry
    sheet.is_new = True


def _sheet(filename: str) -> _Sheet | None:
    """Return the sheet of a source file as it is now; None if there is no such file, or nowhere to keep sheets."""
    if _memo.folder is None:
        return None
    stamp = stamp_of(filename)
    if stamp is None:
        return None
    sheet = _memo.sheets.get(filename)
    if sheet is None or sheet.stamp != stamp:
        sheet = _memo.sheets[filename] = _read(_memo.folder, filename, stamp) or _Sheet(stamp, {})
    return sheet


def _path(folder: str, filename: str) -> str:
    name = blake3(os.fsencode(filename) + b"\0" + MAGIC_NUMBER, key=_KEY).hexdigest()[:32]
    return os.path.join(folder, name + ".memo")


def _read(folder: str, filename: str, stamp: Stamp) -> _Sheet | None:
    try:
        with open(_path(folder, filename), "rb") as file:
            content = file.read()
    except OSError:
        return None
    head, check, body = content[: len(_HEAD)], content[len(_HEAD) :][:32], content[len(_HEAD) + 32 :]
    if head != _HEAD or check != blake3(body, key=_KEY).digest():
        return None
    try:
        of_file, of_stamp, entries = marshal.loads(body)
    except (ValueError, TypeError, EOFError):
        return None
    return _Sheet(stamp, entries) if of_file == filename and of_stamp == stamp and type(entries) is dict else None


def _write(folder: str, filename: str, sheet: _Sheet) -> None:
    entries = dict(list(sheet.entries.items())[-_MOST:])
    body = marshal.dumps((filename, sheet.stamp, entries), 2)
    path = _path(folder, filename)
    temporary = f"{path}.{os.getpid()}-{get_ident()}"
    os.makedirs(folder, exist_ok=True)
    with open(temporary, "wb") as file:
        file.write(_HEAD + blake3(body, key=_KEY).digest() + body)
        file.flush()
        written = os.fstat(file.fileno()).st_mtime_ns
    if surely_after(written, sheet.stamp):
        os.replace(temporary, path)
    else:
        os.unlink(temporary)
