"""What storages cost, beside the floor: the bare system calls that nobody can do without.

    python benchmarks/storages.py [--folder PLACE] [--records 1e3,1e5] [--rounds 7]

Floor and storage take turns in small batches of one run, so that the load of the machine falls on both; the figures
are the best batch of each (microseconds per call, wall and CPU of this process).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flowstone.filesystems import LocalFileSystem, MemoryFileSystem, TieredFileSystem
from flowstone.filesystems.base import WriteMode

SMALL = [b"h" * 200, b"p" * 400]
BATCH = 200


@dataclass(slots=True)
class Best:
    wall: float = float("inf")
    cpu: float = float("inf")

    def __str__(self) -> str:
        return f"{self.wall * 1e6:9.2f} {self.cpu * 1e6:9.2f}"


def measure(acts: dict[str, Callable[[str], object]], keys: Iterator[str], rounds: int, batch: int) -> dict[str, Best]:
    best = {name: Best() for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            todo = list(itertools.islice(keys, batch))
            wall, cpu = time.perf_counter(), time.process_time()
            for key in todo:
                act(key)
            best[name].cpu = min(best[name].cpu, (time.process_time() - cpu) / batch)
            best[name].wall = min(best[name].wall, (time.perf_counter() - wall) / batch)
    return best


def show(title: str, best: dict[str, Best]) -> None:
    floor = next(iter(best.values()))
    print(f"\n{title:44} {'wall us':>9} {'cpu us':>9}   x floor")
    for name, figures in best.items():
        print(f"  {name:42} {figures}   {figures.cpu / floor.cpu:6.2f}")


class Floor:
    """The bare system calls, in the same folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder + "/"
        self.numbers = itertools.count()

    def _write(self, parts: list[bytes], *, sync: bool = False) -> str:
        temp = f"{self.folder}.flowstone/tmp/floor{next(self.numbers)}"
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        os.writev(fd, parts)
        if sync:
            os.fsync(fd)
        os.close(fd)
        return temp

    def put(self, key: str) -> None:
        os.rename(self._write(SMALL), self.folder + key)

    def put_safe(self, key: str) -> None:
        os.rename(self._write(SMALL, sync=True), self.folder + key)
        fd = os.open(self.folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def put_two(self, key: str) -> None:
        self.put(key)
        self.put(key + "b")

    def get(self, key: str) -> bytes:
        fd = os.open(self.folder + key, os.O_RDONLY | os.O_CLOEXEC)
        data = os.read(fd, os.fstat(fd).st_size)
        os.close(fd)
        return data

    def get_python(self, key: str) -> bytes:
        with open(self.folder + key, "rb") as file:
            return file.read()

    def stat(self, key: str) -> os.stat_result:
        return os.stat(self.folder + key)

    def miss(self, key: str) -> None:
        try:
            os.open(self.folder + key + "z", os.O_RDONLY)
        except FileNotFoundError:
            pass


def new_keys(tag: str) -> Iterator[str]:
    return (f"{tag}{number:030x}" for number in itertools.count())


def writing(folder: str, rounds: int) -> None:
    storage, floor, memory = LocalFileSystem(folder), Floor(folder), MemoryFileSystem()
    storage.put("first", SMALL)
    keys = new_keys("aa")
    acts: dict[str, Callable[[str], object]] = {
        "floor: write + rename": floor.put,
        "local put": lambda key: storage.put(key, SMALL),
        "local put, create only": lambda key: storage.put(key, SMALL, WriteMode.CREATE_ONLY),
        "local put, key in a folder": lambda key: storage.put("folder/" + key, SMALL),
        "memory put": lambda key: memory.put(key, SMALL),
    }
    show("writing 600 bytes", measure(acts, keys, rounds, BATCH))
    acts = {
        "floor: two times write + rename": floor.put_two,
        "local publish of two": lambda key: storage.publish([(key, SMALL), (key + "b", SMALL)]),
    }
    show("a group of two", measure(acts, keys, rounds, BATCH // 2))
    same = itertools.cycle([f"same{number}" for number in range(20)])
    acts = {"floor: replace": floor.put, "local put, replacing": lambda key: storage.put(key, SMALL)}
    show("replacing 600 bytes", measure(acts, same, rounds, BATCH // 2))


def durability(folder: str, rounds: int) -> None:
    fast, safe, floor = LocalFileSystem(folder), LocalFileSystem(folder, durability="safe"), Floor(folder)
    safe.put("first", SMALL)
    acts: dict[str, Callable[[str], object]] = {
        "floor: write + fsync + rename + fsync": floor.put_safe,
        "local put, safe": lambda key: safe.put(key, SMALL),
        "local put, fast": lambda key: fast.put(key, SMALL),
        "local publish of two, safe": lambda key: safe.publish([(key, SMALL), (key + "b", SMALL)]),
    }
    show("durability", measure(acts, new_keys("bb"), rounds, 10))


def reading(folder: str, rounds: int) -> None:
    storage, floor, memory = LocalFileSystem(folder), Floor(folder), MemoryFileSystem()
    tier = TieredFileSystem(MemoryFileSystem(), LocalFileSystem(folder), write_back=False)
    names = list(itertools.islice(new_keys("cc"), 1000))
    for name in names:
        memory.put(name, SMALL)
        tier.put(name, SMALL)
        storage.put("deep/" + name, SMALL)
    keys = itertools.cycle(names)
    acts: dict[str, Callable[[str], object]] = {
        "floor: open + fstat + read + close": floor.get,
        "floor: open(...).read()": floor.get_python,
        "local get": storage.get,
        "local get, key in a folder": lambda key: storage.get("deep/" + key),
        "local head": lambda key: storage.head(key, 256),
        "memory get": memory.get,
        "tiered get, memory before local": tier.get,
    }
    show("reading 600 bytes", measure(acts, keys, rounds, BATCH))
    acts = {
        "floor: stat": floor.stat,
        "local stamp": storage.stamp,
        "memory stamp": memory.stamp,
        "local touch, again": storage.touch,
    }
    show("asking", measure(acts, keys, rounds, BATCH))
    acts = {"floor: open fails": floor.miss, "local get, missing": lambda key: storage.get(key + "z")}
    show("missing", measure(acts, keys, rounds, BATCH))


def large(folder: str, rounds: int) -> None:
    storage, floor = LocalFileSystem(folder), Floor(folder)
    data = os.urandom(64 << 20)
    storage.put("large", [data])
    acts: dict[str, Callable[[str], object]] = {
        "floor: write + rename": lambda key: os.rename(floor._write([data]), f"{folder}/{key}"),
        "local put": lambda key: storage.put(key, [data[:100], memoryview(data)[100:]]),
    }
    show("writing 64 MiB", measure(acts, itertools.cycle(["x", "y"]), rounds, 1))
    acts = {
        "floor: open + fstat + read + close": floor.get,
        "local get (mapped)": storage.get,
        "local get, all bytes summed": lambda key: sum(memoryview(storage.get(key).data).cast("Q")[::4096]),  # type: ignore[union-attr]
    }
    show("reading 64 MiB", measure(acts, itertools.repeat("large"), rounds, 1))


def crowd(folder: str, counts: list[int], rounds: int) -> None:
    """Look-ups among many records."""
    storage, floor = LocalFileSystem(folder), Floor(folder)
    keys = new_keys("dd")
    there = 0
    for count in counts:
        while there < count:
            storage.put(next(keys), SMALL)
            there += 1
        some = [f"dd{number:030x}" for number in range(0, count, max(1, count // 1000))]
        fresh = new_keys(f"e{len(str(count))}")
        acts: dict[str, Callable[[str], object]] = {
            "floor: open + fstat + read + close": floor.get,
            "local get": storage.get,
            "local stamp": storage.stamp,
            "local get, missing": lambda key: storage.get(key + "z"),
        }
        show(f"among {count:,} records", measure(acts, itertools.cycle(some), rounds, BATCH))
        acts = {"floor: write + rename": floor.put, "local put": lambda key: storage.put(key, SMALL)}
        show(f"writing among {count:,} records", measure(acts, fresh, rounds, BATCH))
        began = time.perf_counter()
        listed = sum(1 for _ in storage.scan())
        print(f"  scan: {(time.perf_counter() - began) / listed * 1e6:.2f} us an entry")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to work (a new folder is made in it)")
    parser.add_argument("--records", default="1e3,1e5", help="how many records to look up among")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    counts = [int(float(count)) for count in options.records.split(",") if count]
    for part in (writing, durability, reading, large):
        with_folder(options.folder, lambda folder, part=part: part(folder, options.rounds))
    if counts:
        with_folder(options.folder, lambda folder: crowd(folder, counts, options.rounds))


def with_folder(parent: str | None, act: Callable[[str], None]) -> None:
    folder = tempfile.mkdtemp(prefix="flowstone-bench-", dir=parent)
    try:
        act(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
