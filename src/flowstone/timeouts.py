"""Interrupts code that has run too long on the calling thread.

On the main thread a timer signal does it, which ends blocking system calls too. On other threads an exception is
scheduled in the thread; it arrives when the interpreter next runs Python code there, so a blocking call in C is not
cut short but its result is dropped.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from flowstone.exceptions import RunTimeoutError


class _Expired(BaseException):
    """Thrown into the code that ran too long; a BaseException, so that no `except Exception` swallows it."""


def interrupting(seconds: float) -> AbstractContextManager[None]:
    """Return a context that raises RunTimeoutError if its block runs longer than `seconds`."""
    if threading.current_thread() is threading.main_thread() and os.name == "posix":
        return _by_signal(seconds)
    return _by_thread_exception(seconds)


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    import signal  # builds enums of all signals when imported; only timeouts need it

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise _Expired

    previous_handler = signal.signal(signal.SIGALRM, expire)
    started = time.monotonic()
    previous_delay, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Expired:
        raise RunTimeoutError(seconds) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)
        if previous_delay:  # a timeout around this one goes on with what is left of it
            left = previous_delay - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6))


@contextmanager
def _by_thread_exception(seconds: float) -> Iterator[None]:
    import ctypes  # loaded only where a timeout is used off the main thread

    def throw(exception: type[BaseException] | None) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(target), ctypes.py_object(exception) if exception else None
        )

    target = threading.get_ident()
    gate = threading.Lock()
    over = False

    def expire() -> None:
        with gate:
            if not over:
                throw(_Expired)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield
        finally:
            with gate:
                over = True
            timer.cancel()
            throw(None)  # one that was scheduled but has not arrived must not hit the code after the block
    except _Expired:
        raise RunTimeoutError(seconds) from None
