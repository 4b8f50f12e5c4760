"""Observers may look, never decide: an observer that fails is reported once and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from flowstone.events import Event
from flowstone.warn import warn_once

Observer = Callable[[Event], None]

_observers: tuple[Observer, ...] = ()


def observe(observer: Observer) -> Callable[[], None]:
    """Have `observer` told of every event in this process; returns a function that ends it.

    It is called on the thread the run is on, so it must be quick.
    """
    global _observers  # a registry, filled by explicit calls
    _observers = (*_observers, observer)

    def stop() -> None:
        global _observers
        _observers = tuple(other for other in _observers if other is not observer)

    return stop


def anyone_listens() -> bool:
    return bool(_observers)


def tell(event: Event) -> None:
    """Tell all observers of `event`; never raises an Exception."""
    for observer in _observers:
        try:
            observer(event)
        except Exception as error:
            name = getattr(observer, "__qualname__", repr(observer))
            warn_once(("observer", name), f"The observer {name} failed and will be passed over: {error!r}.")
