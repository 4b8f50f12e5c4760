"""Looking at objects without running code of theirs: no `__getattr__`, no properties of the user's."""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

_OF_C = (GetSetDescriptorType, MemberDescriptorType)


def attribute(value: Any, name: str) -> Any:
    """Return an attribute that an object really has, in its own namespace or in a slot; None for any other."""
    try:
        for kind in type(value).__mro__:
            entry = kind.__dict__.get(name)
            if entry is not None:
                return entry.__get__(value) if type(entry) in _OF_C else None
        return object.__getattribute__(value, "__dict__").get(name)
    except AttributeError:
        return None


def is_module(value: object) -> bool:
    """Whether something is a module, whatever it pretends to be."""
    return issubclass(type(value), ModuleType)


def is_class(value: object) -> bool:
    """Whether something is a class, whatever it pretends to be."""
    return issubclass(type(value), type)


def is_runnable(value: object) -> bool:
    """Whether something is a task or a flow, which counts by the function it runs."""
    return bool(getattr(type(value), "__flowstone_runnable__", False))
