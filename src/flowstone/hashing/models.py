"""Models and records of other packages: pydantic, msgspec, SQLAlchemy, networkx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstone.hashing.form import Node, Refused, State
from flowstone.hashing.objects import cached_names
from flowstone.hashing.registry import register_type


def _pydantic(value: Any) -> Node:
    """A model of pydantic 2: fields, extras and private attributes by value, and which fields were given."""
    state = (_fields(value), value.__pydantic_extra__ or {}, value.__pydantic_private__ or {})
    parts = (*map(State, state), value.__pydantic_fields_set__)
    return Node("pydantic model", parts, kind=type(value))


def _pydantic_1(value: Any) -> Node:
    private = {name: getattr(value, name) for name in value.__private_attributes__ if hasattr(value, name)}
    return Node(
        "pydantic model", (State(_fields(value)), State({}), State(private), value.__fields_set__), kind=type(value)
    )


def _any_pydantic(value: Any) -> Node:
    return _pydantic(value) if hasattr(type(value), "__pydantic_fields_set__") else _pydantic_1(value)


def _fields(value: Any) -> dict[str, Any]:
    cached = cached_names(type(value))
    return {name: item for name, item in value.__dict__.items() if name not in cached}


def _url(value: Any) -> Node:
    return Node("url", (str(value),), kind=type(value))


def _struct(value: Any) -> Node:
    state = {name: getattr(value, name) for name in value.__struct_fields__ if hasattr(value, name)}
    state.update(getattr(value, "__dict__", {}))
    return Node("object", (State(state),), kind=type(value))


def _row(value: Any) -> Node:
    return Node("row", (list(value._fields), tuple(value)))


def _row_mapping(value: Any) -> Node:
    return Node("row mapping", (dict(value),))


def _mapped(value: Any) -> Node:
    """An instance of a mapped class: what is loaded of it."""
    if value._sa_instance_state.expired_attributes:
        raise Refused(type(value), "some of its attributes would have to be loaded first; refresh it")
    state = {name: item for name, item in value.__dict__.items() if name != "_sa_instance_state"}
    return Node("mapped object", (State(state),), kind=type(value))


def _related(value: Any) -> Node:
    return Node("related", (list(value) if isinstance(value, list) else set(value),))


def _related_by_key(value: Any) -> Node:
    return Node("related", (dict(value),))


def _sql(value: Any) -> Node:
    raise Refused(type(value), "it is an SQL expression, which changes as it is used; pass its text and parameters")


def _graph(value: Any) -> Node:
    """A networkx graph by nodes, edges and attributes; the order of neither makes a difference."""
    nodes, edges = value._node, value._adj
    if type(nodes) is not dict or type(edges) is not dict:  # a view of another graph
        nodes = {name: dict(data) for name, data in value.nodes(data=True)}
        edges = {name: _copied(around, 2 if value.is_multigraph() else 1) for name, around in value.adj.items()}
    own = {name: item for name, item in _fields(value).items() if name not in _GRAPH_STATE and not callable(item)}
    return Node("graph", (value.graph, nodes, edges, State(own)), (".graph", ".nodes", ".adj", ""), kind=type(value))


def _copied(around: Any, levels: int) -> dict[Any, Any]:
    return {key: _copied(item, levels - 1) if levels else item for key, item in around.items()}


_GRAPH_STATE = frozenset({"graph", "_node", "_adj", "_succ", "_pred", "__networkx_cache__", "_graph"})

_NAMED: dict[str, Callable[[Any], Node]] = {
    "pydantic.main.BaseModel": _any_pydantic,
    "pydantic.v1.main.BaseModel": _pydantic_1,
    "pydantic_core._pydantic_core.Url": _url,
    "pydantic_core._pydantic_core.MultiHostUrl": _url,
    "msgspec.Struct": _struct,
    "msgspec._core.Struct": _struct,
    "sqlalchemy.engine.row.Row": _row,
    "sqlalchemy.engine.row.RowMapping": _row_mapping,
    "sqlalchemy.orm.collections.InstrumentedList": _related,
    "sqlalchemy.orm.collections.InstrumentedSet": _related,
    "sqlalchemy.orm.collections.InstrumentedDict": _related_by_key,
    "sqlalchemy.orm.decl_api.DeclarativeBase": _mapped,
    "sqlalchemy.orm.decl_api.DeclarativeBaseNoMeta": _mapped,
    "sqlalchemy.orm.decl_api.Base": _mapped,
    "sqlalchemy.sql.elements.ClauseElement": _sql,
    "networkx.classes.graph.Graph": _graph,
}
for _name, _encoder in _NAMED.items():
    register_type(_name, _encoder, subclasses=True)
