"""The graph of what code reaches, and its digest.

The digest is that of the graph as seen from its root: nodes are numbered in the order in which a walk along the
sorted names of their edges meets them. So it does not depend on the order of discovery, on where code lies, or on
what modules are called, and cycles need no special care.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from flowstone.hashing import combine


class Node:
    """Something that refers to others: its own digest, and named edges to nodes or, as bytes, to what ends there."""

    __slots__ = ("edges", "own")

    def __init__(self, own: bytes) -> None:
        self.own = own
        self.edges: dict[str, bytes | Node] = {}


def leaf(kind: str, *words: str) -> bytes:
    """Return the digest of something that counts by what it is called."""
    return combine(kind, [("", word.encode("utf-8", "surrogatepass")) for word in words])


def rooted_digest(root: Node) -> bytes:
    """Return the digest of everything that can be reached from a node, as it is seen from there."""
    numbers: dict[int, int] = {id(root): 0}
    order = [root]
    items = [("without assertions", b"")] if sys.flags.optimize else []
    for node in order:  # which grows meanwhile
        items.append(("node", node.own))
        items += _edges(node, numbers, order)
    return combine("code", items)


def _edges(node: Node, numbers: dict[int, int], order: list[Node]) -> Iterable[tuple[str, bytes]]:
    for name in sorted(node.edges):
        target = node.edges[name]
        if isinstance(target, bytes):
            yield f"={name}", target
            continue
        number = numbers.get(id(target))
        if number is None:
            number = numbers[id(target)] = len(order)
            order.append(target)
        yield f">{name}", b"%d" % number
