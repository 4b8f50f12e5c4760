"""The digest of a graph is the same however it was found, and differs with anything in it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from flowstone.fingerprints.nodes import Node, leaf, rooted_digest

graphs = st.integers(1, 7).flatmap(
    lambda size: st.lists(
        st.tuples(
            st.sampled_from([b"one", b"two"]),
            st.dictionaries(st.sampled_from("abc"), st.integers(0, size - 1) | st.binary(max_size=2), max_size=3),
        ),
        min_size=size,
        max_size=size,
    )
)


def build(plan, order) -> Node:
    """Make the nodes, and fill in their edges in any order."""
    nodes = [Node(own) for own, _ in plan]
    for place in order:
        edges = list(plan[place][1].items())
        random.shuffle(edges)
        for name, target in edges:
            nodes[place].edges[name] = target if isinstance(target, bytes) else nodes[target]
    return nodes[0]


def reached(plan) -> set[int]:
    found, waiting = {0}, [0]
    while waiting:
        for target in plan[waiting.pop()][1].values():
            if isinstance(target, int) and target not in found:
                found.add(target)
                waiting.append(target)
    return found


@given(graphs, st.randoms())
def test_neither_the_order_of_discovery_nor_what_cannot_be_reached_counts(plan, chance):
    order = list(range(len(plan)))
    before = rooted_digest(build(plan, order))
    chance.shuffle(order)
    moved = [*plan, (b"nobody's", {"a": 0})]

    assert rooted_digest(build(plan, order)) == before
    assert rooted_digest(build(moved, [*order, len(plan)])) == before


@given(graphs, st.data())
def test_every_change_of_what_can_be_reached_counts(plan, data):
    before = rooted_digest(build(plan, range(len(plan))))
    place = data.draw(st.sampled_from(sorted(reached(plan))))
    own, edges = plan[place]
    changes = [(own + b"!", edges), (own, {**edges, "d": b"x"}), (own, {**edges, "d": 0})]
    changes += [(own, {name: target for name, target in edges.items() if name != gone}) for gone in edges]
    for change in changes:
        assert rooted_digest(build([*plan[:place], change, *plan[place + 1 :]], range(len(plan)))) != before


def test_numbers_of_nodes_are_not_mistaken_for_contents():
    one, other = Node(b"root"), Node(b"root")
    one.edges = {"a": Node(b"x"), "b": b"1"}
    other.edges = {"a": b"1", "b": Node(b"x")}

    assert rooted_digest(one) != rooted_digest(other)


def test_words_of_a_leaf_do_not_run_together():
    assert len({leaf("a", "b", "c"), leaf("a", "bc"), leaf("ab", "c"), leaf("a", "b", "", "c")}) == 4
