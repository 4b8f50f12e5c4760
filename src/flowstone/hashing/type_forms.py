"""Annotations as values: generic aliases, unions, type variables and the special forms of `typing`."""

from __future__ import annotations

from typing import Any

from flowstone.hashing.form import Bag, Node
from flowstone.hashing.registry import Encoder, register_type


def _generic(value: Any) -> Node:
    """`list[int]`; it hands on all other attributes of `list`, so nothing else is asked of it."""
    return Node("alias", (value.__origin__, value.__args__, bool(getattr(value, "__unpacked__", False))))


def _alias(value: Any) -> Node:
    return Node("typing alias", (value._name, value.__origin__, value.__args__))


def _union(value: Any) -> Node:
    return Bag("union", value.__args__)


def _literal(value: Any) -> Node:
    return Bag("literal", value.__args__)


def _annotated(value: Any) -> Node:
    return Node("annotated", (value.__origin__, value.__metadata__))


def _type_variable(value: Any) -> Node:
    variance = (getattr(value, "__covariant__", False), getattr(value, "__contravariant__", False))
    limits = (getattr(value, "__bound__", None), getattr(value, "__constraints__", ()))
    return Node(f"variable {type(value).__name__}", (value.__module__, value.__name__, variance, limits))


def _special_form(value: Any) -> Node:
    return Node("special form", (value._name,))


def _forward(value: Any) -> Node:
    return Node("forward reference", (value.__forward_arg__,))


def _new_type(value: Any) -> Node:
    return Node("new type", (value.__module__, value.__qualname__, value.__supertype__))


def _type_alias(value: Any) -> Node:
    return Node("type alias", (value.__module__, value.__name__, value.__value__, value.__type_params__))


_ENCODERS: dict[str, Encoder] = {
    "types.GenericAlias": _generic,
    "collections.abc._CallableGenericAlias": _generic,
    "types.UnionType": _union,
    "typing.Union": _union,
    "typing._UnionGenericAlias": _union,
    "typing._GenericAlias": _alias,
    "typing._CallableGenericAlias": _alias,
    "typing._SpecialGenericAlias": _special_form,
    "typing._CallableType": _special_form,
    "typing._TupleType": _special_form,
    "typing._SpecialForm": _special_form,
    "typing._LiteralGenericAlias": _literal,
    "typing._AnnotatedAlias": _annotated,
    "typing.ForwardRef": _forward,
    "typing.NewType": _new_type,
    "typing.TypeAliasType": _type_alias,
    "typing.TypeVar": _type_variable,
    "typing.ParamSpec": _type_variable,
    "typing.TypeVarTuple": _type_variable,
}
for _name, _encoder in _ENCODERS.items():
    register_type(_name, _encoder)
