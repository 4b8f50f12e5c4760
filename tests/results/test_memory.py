"""The memory layer holds a bounded number of bytes, never the value of somebody, and never in anybody's way."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from flowstone.results import Hit
from flowstone.results.found import NOT_LOADED
from flowstone.results.memory import MemoryLayer, is_immutable


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, 1j, "a", b"a", (), (1, ("a", (None,))), frozenset({1, "a"}), (frozenset({(1,)}),)]
)
def test_what_nobody_can_change_can_be_given_to_everybody(value: object) -> None:
    assert is_immutable(value)


class Text(str):
    pass


class Pair(tuple[int, int]):
    pass


@pytest.mark.parametrize(
    "value", [[], {}, (1, []), ([],), bytearray(), Text("a"), Pair((1, 2)), object(), ((((((1,),),),),),), (1,) * 1000]
)
def test_what_could_be_changed_or_is_costly_to_judge_is_not(value: object) -> None:
    assert not is_immutable(value)


def test_a_value_that_can_be_shared_is_kept_itself_and_others_are_kept_as_bytes(bench: Any) -> None:
    bench.write((1, "a"), "atom")
    bench.write([1], "list")
    bench.value("atom"), bench.value("list")

    kept = bench.store._memory.entries
    assert kept["atom"].value == (1, "a")
    assert bench.value("atom") is kept["atom"].value
    assert kept["list"].value is NOT_LOADED
    assert bench.value("list") is not bench.value("list")


def test_a_hit_from_memory_reads_no_file(bench: Any, troubled: Any) -> None:
    bench.write([1])
    bench.value()
    stamp = bench.storage.stamp("k")

    class OnlyStamps(troubled):  # type: ignore[misc]
        def stamp(self, key: str) -> Any:
            return stamp

    bench.store._heads = OnlyStamps()
    assert bench.value() == [1]
    assert isinstance(bench.find(load=False), Hit)


def test_memory_is_bounded_by_bytes(make_bench: Any, bench: Any) -> None:
    small = make_bench(bench.storage, memory_bytes=100_000)
    for n in range(300):
        small.write(os.urandom(1000), f"k{n}")
        small.value(f"k{n}")
        assert small.store._memory.bytes <= 100_000
    layer = small.store._memory
    assert 10 < len(layer.entries) < 100
    assert layer.bytes == sum(kept.cost for kept in layer.entries.values())


def test_what_is_used_stays(make_bench: Any, bench: Any) -> None:
    small = make_bench(bench.storage, memory_bytes=100_000)
    small.write("favourite", "f")
    for n in range(300):
        small.value("f")
        small.write(os.urandom(1000), f"k{n}")
        small.value(f"k{n}")
    assert "f" in small.store._memory.entries


def test_a_value_too_large_for_memory_is_not_kept(make_bench: Any, bench: Any) -> None:
    small = make_bench(bench.storage, memory_bytes=100_000)
    small.write(os.urandom(50_000))
    assert len(small.value()) == 50_000
    assert small.store._memory.entries == {}


@pytest.mark.parametrize("options", [{"cache_result_in_memory": False}, {"memory_bytes": 0}])
def test_memory_can_be_turned_off(make_bench: Any, bench: Any, options: dict[str, Any]) -> None:
    off = make_bench(bench.storage, **options)
    off.write(1)
    assert off.value() == 1
    assert off.store._memory is None


def test_many_threads_in_a_small_memory_get_right_values(make_bench: Any, bench: Any, together: Any) -> None:
    small = make_bench(bench.storage, memory_bytes=20_000)
    for n in range(40):
        small.write([n] * 20, f"k{n}")

    def work(seed: int) -> None:
        pick = random.Random(seed)
        for _ in range(300):
            n = pick.randrange(40)
            assert small.value(f"k{n}") == [n] * 20

    together(8, work)
    layer = small.store._memory
    assert layer.bytes == sum(kept.cost for kept in layer.entries.values()) <= 20_000


def test_a_busy_layer_is_passed_by(bench: Any) -> None:
    bench.write([1])
    layer: MemoryLayer = bench.store._memory
    with layer._lock:
        assert bench.value() == [1]
        bench.write([2])
        assert bench.value() == [2]
    assert layer.entries == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_begins_with_an_empty_and_free_layer(bench: Any) -> None:
    bench.write([1])
    bench.value()
    layer = bench.store._memory
    layer._lock.acquire()
    child = os.fork()
    if child == 0:
        fine = not layer.entries and layer._lock.acquire(blocking=False)
        os._exit(0 if fine and layer.bytes == 0 else 1)
    _, status = os.waitpid(child, 0)
    layer._lock.release()
    assert status == 0
    assert "k" in layer.entries
