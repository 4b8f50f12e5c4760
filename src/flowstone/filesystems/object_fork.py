"""Object stores in a forked child.

The client library drives its requests by threads, and a child inherits none of its parent's: its first request would
wait for ever. The library cannot start them anew. But a second copy of it, loaded from a file of its own, is a library
that has never been used. So a child of a process that had loaded the library loads a copy when it first needs it (40
ms), and leaves what it inherited alone, even unfreed: to free it may wait for a lock that a thread of the parent held.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from flowstone.exceptions import StoreError

_LIBRARY: Final = "obstore"
_BINARY: Final = "obstore._obstore"


class _Library:
    """Whether this process may use the library as it is in `sys.modules`."""

    def __init__(self) -> None:
        self.dead = False
        self.lock = threading.Lock()
        self.inherited: list[object] = []

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self.dead = self.dead or _BINARY in sys.modules

    def revive(self) -> None:
        with self.lock:
            if self.dead:
                try:
                    self.inherited.append(_load_again())
                except (ImportError, OSError) as error:
                    raise StoreError(
                        "This process was forked after its parent had used object stores, and cannot load the client "
                        f"library anew ({error}). Start workers with the 'spawn' or 'forkserver' method."
                    ) from error
                self.dead = False


_library: Final = _Library()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_library.after_fork)


def ensure_library() -> None:
    """See to it that `import obstore` gives a library that works in this process; raises StoreError if it cannot."""
    if _library.dead:
        _library.revive()


def leave_alone(thing: object) -> None:
    """Keep what a parent made with the library from ever being freed here."""
    _library.inherited.append(thing)


def _load_again() -> dict[str, ModuleType]:
    """Put a copy of the library in the place of the one in `sys.modules`; return the modules it replaces."""
    binary = sys.modules[_BINARY].__file__
    if binary is None:
        raise ImportError(f"nobody knows where {_BINARY} came from")
    names = [name for name in sys.modules if name == _LIBRARY or name.startswith(f"{_LIBRARY}.")]
    old = {name: sys.modules.pop(name) for name in names}
    try:
        with _copy_of(binary) as copied:
            finder = _Finder(copied)
            sys.meta_path.insert(0, finder)
            try:
                importlib.import_module(_LIBRARY)
            finally:
                sys.meta_path.remove(finder)
        sys.modules[_BINARY].__file__ = binary  # where a child of this child finds it
    except BaseException:
        sys.modules.update(old)
        raise
    return old


class _Finder:
    """Finds the binary part of the library in a given file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _BINARY:
            return None
        loader = importlib.machinery.ExtensionFileLoader(name, self._path)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


@contextmanager
def _copy_of(path: str) -> Iterator[str]:
    """Make a copy of a file, in memory where possible; what has been loaded from it outlives it."""
    with open(path, "rb") as source:
        if hasattr(os, "memfd_create"):
            with os.fdopen(os.memfd_create(_LIBRARY), "wb") as copied:
                shutil.copyfileobj(source, copied, 1 << 20)
                copied.flush()
                yield f"/proc/self/fd/{copied.fileno()}"
        else:
            with tempfile.NamedTemporaryFile(prefix=_LIBRARY, suffix=os.path.splitext(path)[1]) as copied:
                shutil.copyfileobj(source, copied, 1 << 20)
                copied.flush()
                yield copied.name
