from __future__ import annotations

import os
import sys

import pytest

from flowstone.locking.holders import holder_path, lineage, root, within


def test_new_holders_never_share_a_name() -> None:
    names = {holder_path(None) for _ in range(100)} | {holder_path("p") for _ in range(100)}
    assert len(names) == 200


def test_a_child_is_below_its_parent_and_nobody_else() -> None:
    parent, other = holder_path(None), holder_path(None)
    child = holder_path(parent)
    assert within(child, parent)
    assert not within(child, other)
    assert not within(parent, child)
    assert lineage(child) == [child, parent]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks")
def test_a_forked_child_gives_names_of_its_own() -> None:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, holder_path(None).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read()
    os.wait()
    ours = holder_path(None)
    assert theirs
    assert theirs.split("-")[0] != ours.split("-")[0]


@pytest.mark.parametrize(
    ("holder", "names"),
    [
        ("a", ["a"]),
        ("a/b/c", ["a/b/c", "a/b", "a"]),
        ("/a", ["/a"]),
        ("a/", ["a/", "a"]),
        ("a//b", ["a//b", "a/", "a"]),
    ],
)
def test_a_lineage_goes_from_the_nearest_to_the_root(holder: str, names: list[str]) -> None:
    assert lineage(holder) == names
    assert root(holder) == names[-1]
    assert all(within(holder, name) for name in names)


@pytest.mark.parametrize(("holder", "other"), [("ab", "a"), ("a/bc", "a/b"), ("a", "a/b"), ("b", "a")])
def test_names_that_only_look_alike_are_strangers(holder: str, other: str) -> None:
    assert not within(holder, other)
