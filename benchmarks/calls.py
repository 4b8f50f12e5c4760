"""The speed budget of calls: what flowstone adds, beside the floor of the same work done by hand, in one run.

CPU time, not wall: other work on the machine moves it less. Each figure is the median of several rounds.
"""

from __future__ import annotations

import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count

ROUNDS = int(os.environ.get("FLOWSTONE_BENCH_ROUNDS", "7"))

IMPORTS = {
    "bare interpreter": "pass",
    "asyncio, logging, json": "import asyncio, logging, json",
    "flowstone": "import flowstone",
}
FRESH_HITS = """
import time; began = time.process_time()
from flowstone import task
from flowstone.cache_policies import INPUTS
@task(cache_policy=INPUTS)
def work(n):
    return [n]
for x in range(1000): work(x)
print(time.process_time())
"""
FRESH_FLOOR = """
import os, pickle, sys, time
folder = sys.argv[1]
for x in range(1000):
    with open(f"{folder}/{x}", "rb") as file: pickle.loads(file.read())
print(time.process_time())
"""


def main() -> None:
    home = tempfile.mkdtemp(prefix="flowstone-bench-")
    os.environ.update(FLOWSTONE_HOME=home, FLOWSTONE_LOGGING_LEVEL="WARNING", FLOWSTONE_HISTORY_ENABLED="false")
    print(f"Python {sys.version.split()[0]}, medians of {ROUNDS}; microseconds of CPU per call unless it says ms\n")
    print(f"{'what':44}{'flowstone':>12}{'floor':>12}{'ratio':>8}   floor is")
    imports()
    calls()
    fresh_process(home)


def row(what: str, ours: float, floor: float | None = None, says: str = "") -> None:
    beside = f"{floor:12.1f}{ours / floor:8.2f}   {says}" if floor else ""
    print(f"{what:44}{ours:12.1f}{beside}")


def cpu_of(code: str, *args: str) -> float:
    """Return the milliseconds of CPU that a fresh process takes to run `code`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = _children()
    subprocess.run([sys.executable, "-c", code, *args], check=True, stdout=subprocess.DEVNULL, env=environment)
    return 1e3 * (_children() - before)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def imports() -> None:
    for code in IMPORTS.values():
        cpu_of(code)
    samples: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(3 * ROUNDS):
        for name, code in IMPORTS.items():
            samples[name].append(cpu_of(code))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    row("import (ms)", medians["flowstone"], medians["bare interpreter"], "a bare interpreter")
    row("import (ms)", medians["flowstone"], medians["asyncio, logging, json"], "import asyncio, logging, json")


def cost(*rivals: Callable[[], object], calls: int = 2000) -> list[float]:
    """Return the median cost of each rival in microseconds of CPU, measured in turn."""
    for rival in rivals:
        rival()
    samples: list[list[float]] = [[] for _ in rivals]
    for _ in range(ROUNDS):
        for rival, kept in zip(rivals, samples, strict=True):
            began = time.process_time()
            for _ in range(calls):
                rival()
            kept.append((time.process_time() - began) / calls * 1e6)
    return [statistics.median(kept) for kept in samples]


def calls() -> None:
    from flowstone import flow, task
    from flowstone.cache_policies import INPUTS, TASK_SOURCE

    @task
    def noop(x: int) -> int:
        return x

    @task(cache_policy=INPUTS)
    def small(x: int) -> list[int]:
        return [x]

    @task(cache_policy=INPUTS + TASK_SOURCE)
    def with_source(x: int) -> list[int]:
        return [x]

    disk = small.with_options(cache_result_in_memory=False)
    numbers = count(10)
    folder = tempfile.mkdtemp(prefix="flowstone-floor-")
    path = f"{folder}/record"
    _write(path, pickle.dumps([1]))

    def read() -> object:
        with open(path, "rb") as file:
            return pickle.loads(file.read())

    def write() -> None:
        number = next(numbers)
        _write(f"{folder}/tmp", pickle.dumps([number]))
        os.replace(f"{folder}/tmp", f"{folder}/{number}")

    @flow
    def inside() -> None:
        (uncached,) = cost(lambda: noop(1))
        row("an uncached no-op in a flow", uncached)
        memory, with_code, from_disk, floor = cost(lambda: small(1), lambda: with_source(1), lambda: disk(1), read)
        row("a hit, same process", memory, floor, "open + read + unpickle")
        row("a hit, same process, INPUTS + TASK_SOURCE", with_code, floor, "open + read + unpickle")
        row("a hit from the file", from_disk, floor, "open + read + unpickle")
        missed, written = cost(lambda: small(next(numbers)), write, calls=500)
        row("a miss, small value written", missed, written, "pickle + write temporary + rename")

    inside()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def fresh_process(home: str) -> None:
    folder = tempfile.mkdtemp(prefix="flowstone-floor-")
    for number in range(1000):
        _write(f"{folder}/{number}", pickle.dumps([number]))
    cpu_of(FRESH_HITS)
    ours, floors, starts = [], [], []
    for _ in range(ROUNDS):
        ours.append(cpu_of(FRESH_HITS))
        floors.append(cpu_of(FRESH_FLOOR, folder))
        starts.append(cpu_of("from flowstone import task; from flowstone.cache_policies import INPUTS"))
    whole, floor, start = map(statistics.median, (ours, floors, starts))
    row("1,000 hits in a fresh process, all in (ms)", whole, floor, "reading 1,000 pickles by hand, all in")
    row("  of which per call (us)", whole - start)


if __name__ == "__main__":
    main()
