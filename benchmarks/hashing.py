"""What a key costs: `python benchmarks/hashing.py [--prefect-python PATH] [--only WORD] [--seconds S]`.

Every value is hashed by each tool in turn, round after round, so that all see the same load of the machine; shown are
medians, and ours in multiples of the yardstick: `pickle.dumps` of the value, or BLAKE3 over its raw buffers. joblib, dask
and Prefect take part where they are installed; Prefect in another environment's Python, since it wants a lot.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

COUNT = 100_000
ARRAY_BYTES = 80_000_000


@dataclass
class Point:
    x: float
    y: float


@dataclass(frozen=True)
class Case:
    """A value; its yardstick; and how many multiples of that, or microseconds, it may cost."""

    name: str
    make: Callable[[], Any]
    yardstick: str = ""
    limit: float | None = None
    microseconds: float | None = None


def numbers() -> Any:
    import numpy as np

    return np.random.default_rng(0).random(ARRAY_BYTES // 8)


def frame(**options: Any) -> Any:
    import numpy as np
    import pandas as pd

    columns = numbers().reshape(10, -1)
    return pd.DataFrame({f"c{i}": column for i, column in enumerate(columns)} if not options else np.array(columns.T))


def strings(kind: str) -> Any:
    import pandas as pd

    return pd.DataFrame({"s": pd.Series([f"item {i}" for i in range(1_000_000)], dtype=kind)})


def polars_frame() -> Any:
    import polars as pl

    return pl.DataFrame({f"c{i}": column for i, column in enumerate(numbers().reshape(10, -1))})


def arrow_table() -> Any:
    import pyarrow as pa

    return pa.table({f"c{i}": column for i, column in enumerate(numbers().reshape(10, -1))})


def record(i: int) -> dict[str, Any]:
    return {"id": i, "name": f"n{i}", "price": i * 0.5, "tags": None}


CASES = [
    Case("int", lambda: 5, microseconds=1.0),
    Case("str", lambda: "a short text", microseconds=1.0),
    Case("dict of 4", lambda: {"a": 1, "b": 2.5, "c": "x", "d": None}, microseconds=4.0),
    Case("nested dict", lambda: {"a": 1, "b": [1, 2, {"z": (1, 2)}], "c": {"k": [1, 2, 3]}}),
    Case("datetime", lambda: datetime(2020, 1, 1)),
    Case("dataclass", lambda: Point(1.0, 2.0)),
    Case("1e5 ints", lambda: list(range(COUNT)), "pickle", 3.0),
    Case("1e5 floats", lambda: [i / 7 for i in range(COUNT)], "pickle", 3.0),
    Case("1e5 strings", lambda: [f"item {i}" for i in range(COUNT)], "pickle", 3.0),
    Case("1e5 pairs", lambda: [(i, i + 1) for i in range(COUNT)], "pickle", 3.0),
    Case("1e4 records", lambda: [record(i) for i in range(COUNT // 10)], "pickle", 3.0),
    Case("1e4 dataclasses", lambda: [Point(i, i) for i in range(COUNT // 10)], "pickle", 3.0),
    Case("1e4 datetimes", lambda: [datetime(2020, 1, 1) + timedelta(i) for i in range(COUNT // 10)], "pickle", 3.0),
    Case("1e4 Decimals", lambda: [Decimal(i) for i in range(COUNT // 10)], "pickle", 3.0),
    Case("dict of 1e5 ints", lambda: {i: i for i in range(COUNT)}, "pickle", microseconds=30_000),
    Case("set of 1e5 ints", lambda: set(range(COUNT)), "pickle"),
    Case("small array", lambda: numbers()[:100].copy()),
    Case("80 MB array", numbers, "raw", 1.3),
    Case("80 MB array, F order", lambda: numbers().reshape(10, -1).T, "raw"),
    Case("80 MB array, every 2nd", lambda: numbers()[::2], "raw"),
    Case("80 MB pandas frame", frame, "raw", 1.3),
    Case("80 MB pandas frame, 2-d", lambda: frame(dense=True), "raw", 1.3),
    Case("80 MB polars frame", polars_frame, "raw", 1.3),
    Case("80 MB arrow table", arrow_table, "raw", 1.3),
    Case("1e6 strings, pandas str", lambda: strings("str"), "pickle"),
    Case("1e6 strings, pandas object", lambda: strings("object"), "pickle"),
]


def raw_buffers(value: Any) -> list[memoryview]:
    """The bytes of an array, or of the columns of a frame, as they would be hashed by hand."""
    import numpy as np

    arrays = [value] if isinstance(value, np.ndarray) else [np.asarray(value[name]) for name in _columns(value)]
    return [memoryview(np.ascontiguousarray(array).reshape(-1)).cast("B") for array in arrays]


def _columns(value: Any) -> list[Any]:
    return list(getattr(value, "column_names", None) or value.columns)


def by_hand(buffers: list[memoryview]) -> None:
    from blake3 import blake3

    for buffer in buffers:
        blake3(buffer, max_threads=blake3.AUTO).digest()


def tools() -> dict[str, Callable[[Any], object]]:
    """What is installed here and makes keys."""
    found: dict[str, Callable[[Any], object]] = {}
    if importlib.util.find_spec("flowstone"):
        from flowstone.hashing import token

        found["flowstone"] = token
    if importlib.util.find_spec("joblib"):
        import joblib

        found["joblib"] = joblib.hash
    if importlib.util.find_spec("dask"):
        from dask.base import tokenize

        found["dask"] = tokenize
    return found


def measured(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median microseconds of each call, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {name: _repeats(call) for name, call in calls.items()}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name] * 1e6)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _repeats(call: Callable[[], object]) -> int:
    start = time.perf_counter()
    call()
    return max(1, int(0.002 / (time.perf_counter() - start)))


def run(case: Case, seconds: float) -> dict[str, float]:
    value = case.make()
    calls: dict[str, Callable[[], object]] = {
        name: (lambda tool=tool: tool(value)) for name, tool in tools().items() if _works(tool, value)
    }
    calls["pickle"] = lambda: pickle.dumps(value, 5)
    if case.yardstick == "raw":
        buffers = raw_buffers(value)
        calls["raw"] = lambda: by_hand(buffers)
    return measured(calls, seconds)


def _works(tool: Callable[[Any], object], value: Any) -> bool:
    try:
        tool(value)
    except Exception:
        return False
    return True


def prefect_times(python: str, names: list[str], seconds: float) -> dict[str, float]:
    """Let another Python hash the same values with Prefect."""
    command = [python, __file__, "--prefect-worker", json.dumps(names), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def prefect_worker(names: list[str], seconds: float) -> None:
    from prefect.utilities.hashing import hash_objects

    told = {}
    for case in (case for case in CASES if case.name in names):
        try:
            value = case.make()
            hash_objects(value)
        except Exception:
            continue
        told[case.name] = measured({"prefect": lambda value=value: hash_objects(value)}, seconds)["prefect"]
    print(json.dumps(told))


def verdict(case: Case, times: dict[str, float]) -> str:
    """Ours in multiples of the yardstick, and whether that is within its limit."""
    ours = times["flowstone"]
    text = f"{ours / times[case.yardstick]:6.2f} x {case.yardstick}" if case.yardstick else ""
    if case.limit is not None:
        text += f"  (limit {case.limit:g}) {'ok' if ours <= case.limit * times[case.yardstick] else 'OVER'}"
    if case.microseconds is not None:
        text += f"  (limit {case.microseconds:g} us) {'ok' if ours <= case.microseconds else 'OVER'}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefect-python", help="a Python in whose environment Prefect is installed")
    parser.add_argument("--prefect-worker", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="cases with this word in their names")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each case")
    options = parser.parse_args()
    if options.prefect_worker:
        prefect_worker(json.loads(options.prefect_worker), options.seconds)
        return
    cases = [case for case in CASES if options.only in case.name]
    prefect = {}
    if options.prefect_python:
        prefect = prefect_times(options.prefect_python, [case.name for case in cases], options.seconds)
    columns = ["flowstone", "pickle", "raw", "joblib", "dask", "prefect"]
    print(f"{'median us':28}" + "".join(f"{name:>12}" for name in columns) + "   flowstone / yardstick")
    for case in cases:
        times = run(case, options.seconds)
        if case.name in prefect:
            times["prefect"] = prefect[case.name]
        cells = "".join(f"{times[name]:12,.1f}" if name in times else f"{'':12}" for name in columns)
        print(f"{case.name:28}{cells}   {verdict(case, times)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
