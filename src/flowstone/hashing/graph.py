"""Deep values and values that contain themselves: a walk without recursion over the graph of a value.

What is not part of a cycle gets the token that the recursive walk gives it, so sharing still makes no difference.
Values that contain each other (a strongly connected component) are described together: each is named by its colour, a
digest refined round by round from the colours of its parts until no round tells more of them apart.
"""

from __future__ import annotations

from flowstone.hashing.form import Node, Refused, buffer_digest, node, seal
from flowstone.hashing.unfold import Scratch, content_of, direct, unfold

MAX_DEPTH = 100_000
MAX_WORK = 10_000_000  # values times rounds, before a knot counts as too entangled


def graph_token(value: object, scratch: Scratch) -> bytes:
    """Give the token of any value that is not flat; slower than the recursive walk, without its limits."""
    return _Search(scratch).run(value)


class _Vertex:
    """One value of the graph; holds on to it so that its id stays its own."""

    __slots__ = ("edges", "index", "knot", "low", "node", "place", "scratch", "sealed", "tokens", "value")

    def __init__(self, value: object, index: int, scratch: Scratch) -> None:
        self.value = value
        self.scratch = scratch
        self.node = _unfolded(value)
        self.tokens: list[bytes] = []  # of the parts; empty for those at `edges`
        self.edges: list[tuple[int, _Vertex]] = []
        self.place = 0  # of the part under way
        self.index = self.low = index
        self.knot: _Knot | None = None
        self.sealed = b""

    def content(self, names: dict[_Vertex, bytes]) -> bytes:
        return content_of(self.node, self.filled(names), self.scratch)

    def filled(self, names: dict[_Vertex, bytes]) -> list[bytes]:
        """The tokens of all parts, those of the same knot by name."""
        tokens = self.tokens.copy()
        for place, part in self.edges:
            tokens[place] = names[part] if part in names else part.token()
        return tokens

    def token(self) -> bytes:
        if not self.sealed:
            self.sealed = self.knot.token(self) if self.knot else seal(self.content({}))
        return self.sealed


def _unfolded(value: object) -> Node:
    try:
        return unfold(value)
    except RecursionError as error:
        raise Refused(type(value), "asking it for its content never ended") from error


class _Search:
    """Tarjan's search for strongly connected components, with a stack of its own."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self.seen: dict[int, _Vertex] = {}
        self.frames: list[_Vertex] = []
        self.open: list[_Vertex] = []  # seen, component not yet complete
        self.is_open: set[_Vertex] = set()

    def run(self, value: object) -> bytes:
        try:
            root = self.enter(value)
            while self.frames:
                self.step(self.frames[-1])
        except Refused as refused:
            refused.segments += [vertex.node.segment(vertex.place) for vertex in reversed(self.frames)]
            raise
        return root.token()

    def enter(self, value: object) -> _Vertex:
        if len(self.frames) >= MAX_DEPTH:
            raise Refused(type(value), f"it is nested more than {MAX_DEPTH:,} levels deep, or makes new parts for ever")
        vertex = self.seen[id(value)] = _Vertex(value, len(self.seen), self.scratch)
        self.frames.append(vertex)
        self.open.append(vertex)
        self.is_open.add(vertex)
        return vertex

    def step(self, vertex: _Vertex) -> None:
        """Look at the next part of a vertex, or leave it when there is none."""
        vertex.place = len(vertex.tokens)
        if vertex.place == len(vertex.node.parts):
            self.leave(vertex)
            return
        part = vertex.node.parts[vertex.place]
        content = direct(part, self.scratch)
        if content is None:
            below = self.seen.get(id(part)) or self.enter(part)
            vertex.edges.append((vertex.place, below))
            if below in self.is_open:
                vertex.low = min(vertex.low, below.index)
        vertex.tokens.append(b"" if content is None else seal(content))

    def leave(self, vertex: _Vertex) -> None:
        self.frames.pop()
        if self.frames:
            self.frames[-1].low = min(self.frames[-1].low, vertex.low)
        if vertex.low == vertex.index:
            members = [self.open.pop()]
            while members[-1] is not vertex:
                members.append(self.open.pop())
            self.is_open.difference_update(members)
            self.close(members)

    def close(self, members: list[_Vertex]) -> None:
        first = members[0]
        if len(members) > 1 or any(part is first for _, part in first.edges):
            knot = _Knot(members)
            for member in members:
                member.knot = knot
        else:
            first.token()  # from the bottom up, so that no token is asked for before those of its parts are known


class _Knot:
    """Values that contain each other, described as a whole."""

    def __init__(self, members: list[_Vertex]) -> None:
        self.colours = dict.fromkeys(members, b"~")
        tones = 1
        for _ in range(max(1, MAX_WORK // len(members))):
            finer = {member: b"~" + buffer_digest(member.content(self.colours)) for member in members}
            if len(set(finer.values())) == tones:
                break
            self.colours, tones = finer, len(set(finer.values()))
        else:
            raise Refused(type(members[0].value), "too many values in it refer to each other in too regular a way")
        self.distinct = tones == len(members)
        self.whole = buffer_digest(b"".join(sorted(self.colours[member] + finer[member] for member in members)))

    def token(self, member: _Vertex) -> bytes:
        if self.distinct:
            return seal(node("in a knot", (self.whole, self.colours[member])))
        return seal(node("in a regular knot", (self.whole, self.tour(member))))

    def tour(self, start: _Vertex) -> bytes:
        """Digest the knot with its members numbered in the order in which they are met from one of them."""
        numbers = {start: b"~0"}
        met = [start]
        for member in met:
            parts = dict(member.edges)
            for place in member.node.order(member.filled(self.colours)):
                part = parts.get(place)
                if part is not None and part in self.colours and part not in numbers:
                    numbers[part] = b"~%d" % len(met)
                    met.append(part)
        return buffer_digest(node("tour", [member.content(numbers) for member in met]))
