"""Records beside the floor, joblib and diskcache, all in one run: `python benchmarks/records.py [--quick]`.

Every line is the median of several rounds in which all contenders take turns, so that a busy machine is busy for all.
The first line of each table is the floor, which the ratios refer to: the standard tools by hand, without any check.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flowstone.filesystems import LocalFileSystem
from flowstone.records import RecordInfo
from flowstone.results import Hit, ResultStore
from flowstone.signing import Keyring

NOW = 1e9
Contender = Callable[[], Any]


def store_in(folder: Path, **options: Any) -> ResultStore:
    return ResultStore(LocalFileSystem(folder), keyring=Keyring.from_text("benchmark"), **options)


def write(store: ResultStore, key: str, value: object) -> None:
    info = RecordInfo(key=key, created=NOW, task_name="task", task_module="module", parts=(("inputs", "ab" * 16),))
    store.publish([store.stage(info, value)])


def read(store: ResultStore, key: str) -> Any:
    found = store.lookup(key, NOW)
    assert isinstance(found, Hit), found
    return found.value


class Median(NamedTuple):
    """Seconds of one call: on the wall, and of this process's CPU."""

    wall: float
    cpu: float


def measure(
    contenders: dict[str, Contender], rounds: int, repeat: int = 1, tidy: Callable[[], None] | None = None
) -> dict[str, Median]:
    """Return the medians for one call of each contender; they take turns, and `tidy` follows each turn."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, act in contenders.items():
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            kept = act()
            for _ in range(repeat - 1):
                kept = act()
            times[name].append(((time.perf_counter() - wall) / repeat, (time.process_time() - cpu) / repeat))
            del kept
            if tidy is not None:
                tidy()
    return {name: Median(*map(statistics.median, zip(*each))) for name, each in times.items()}


def emptied(*folders: Path) -> Callable[[], None]:
    """Return what removes the plain files in the folders: replacing a file costs more than making one."""

    def tidy() -> None:
        for folder in folders:
            for file in folder.iterdir():
                if file.is_file() and not file.name.startswith(".flowstone"):
                    file.unlink()

    return tidy


def show(title: str, medians: dict[str, Median], floor: str) -> None:
    print(f"\n{title:<40}{'wall':>12}{'':>9}{'cpu':>14}")
    base = medians[floor]
    for name, (wall, cpu) in medians.items():
        print(f"  {name:<36}{told(wall)}{wall / base.wall:>7.2f} x{told(cpu)}{cpu / base.cpu:>7.2f} x")


def told(seconds: float) -> str:
    return f"{seconds * 1e3:>11.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:>11.2f} us"


def large_array(folder: Path, megabytes: int, rounds: int) -> None:
    """Save and load one array: save and load are timed together, as a miss and the hit after it."""
    import joblib

    array = np.random.default_rng(1).random(megabytes * 131_072)
    store, header = store_in(folder / "ours"), store_in(folder / "ours", verify="header")

    def by_hand() -> Any:
        np.save(folder / "a.npy", array)
        return np.load(folder / "a.npy")

    def ours() -> Any:
        write(store, "a", array)
        return read(store, "a")

    def with_joblib() -> Any:
        joblib.dump(array, folder / "a.joblib")
        return joblib.load(folder / "a.joblib")

    contenders = {"np.save + np.load (floor)": by_hand, "flowstone": ours, "joblib": with_joblib}
    (folder / "ours").mkdir()
    tidy = emptied(folder, folder / "ours")
    title = f"array of {megabytes} MB, save and load"
    show(title, measure(contenders, rounds, tidy=tidy), "np.save + np.load (floor)")

    for contender in contenders.values():
        contender()
    loads = {
        "np.load": lambda: np.load(folder / "a.npy"),
        "np.load(mmap_mode='c')": lambda: np.load(folder / "a.npy", mmap_mode="c"),
        "flowstone, all verified": lambda: read(store, "a"),
        "flowstone, header verified": lambda: read(header, "a"),
        "flowstone, header, load(mmap=True)": lambda: header.lookup("a", NOW, load=False).load(mmap=True),  # type: ignore[union-attr]
        "joblib.load": lambda: joblib.load(folder / "a.joblib"),
    }
    show(f"array of {megabytes} MB, load", measure(loads, rounds), "np.load")


def frame(folder: Path, rows: int, rounds: int) -> None:
    import diskcache
    import joblib

    table = pd.DataFrame(np.random.default_rng(1).random((rows, 10)), columns=[f"c{n}" for n in range(10)])
    store = store_in(folder / "ours")
    cache = diskcache.Cache(str(folder / "diskcache"), size_limit=1 << 40)

    def by_pickle() -> Any:
        (folder / "f.pickle").write_bytes(pickle.dumps(table, 5))
        return pickle.loads((folder / "f.pickle").read_bytes())

    def ours() -> Any:
        write(store, "f", table)
        return read(store, "f")

    def with_joblib() -> Any:
        joblib.dump(table, folder / "f.joblib")
        return joblib.load(folder / "f.joblib")

    def with_diskcache() -> Any:
        cache["f"] = table
        return cache["f"]

    contenders = {"pickle (floor)": by_pickle, "flowstone": ours, "joblib": with_joblib, "diskcache": with_diskcache}
    (folder / "ours").mkdir()
    tidy = emptied(folder, folder / "ours")
    show(f"DataFrame of {rows} x 10, save and load", measure(contenders, rounds, tidy=tidy), "pickle (floor)")


def small_records(folder: Path, rounds: int, repeat: int) -> None:
    import diskcache
    import joblib

    value = {"answer": 42, "of": "everything", "list": list(range(20))}
    store = store_in(folder / "ours", cache_result_in_memory=False)
    memory = store_in(folder / "ours")
    cache = diskcache.Cache(str(folder / "diskcache"))
    names = map(str, itertools.count())
    for name in ("ours", "hand"):
        (folder / name).mkdir()
    path, temporary = folder / "hand" / "k", folder / "hand" / "tmp"

    def write_by_hand() -> None:
        with open(temporary, "wb") as file:
            file.write(pickle.dumps(value, 5))
        os.replace(temporary, folder / "hand" / next(names))

    def read_by_hand() -> Any:
        with open(path, "rb") as file:
            return pickle.loads(file.read())

    writes = {
        "write + rename of a pickle (floor)": write_by_hand,
        "flowstone": lambda: write(store, next(names), value),
        "joblib.dump": lambda: joblib.dump(value, folder / "hand" / next(names)),
        "diskcache": lambda: cache.set(next(names), value),
    }
    tidy = emptied(folder / "ours", folder / "hand")
    show("small record, write", measure(writes, rounds, repeat, tidy), "write + rename of a pickle (floor)")
    path.write_bytes(pickle.dumps(value, 5))
    write(store, "k", value)
    joblib.dump(value, folder / "k.joblib")
    cache.set("k", value)
    reads = {
        "open + read + loads (floor)": read_by_hand,
        "flowstone": lambda: read(store, "k"),
        "flowstone, from memory": lambda: read(memory, "k"),
        "joblib.load": lambda: joblib.load(folder / "k.joblib"),
        "diskcache": lambda: cache.get("k"),
    }
    show("small record, read", measure(reads, rounds, repeat), "open + read + loads (floor)")


def many_records(folder: Path, counts: list[int], rounds: int) -> None:
    """Look up records and misses in stores of growing size; flat is good."""
    contenders: dict[str, Contender] = {}
    for count in counts:
        store = store_in(folder / f"store-{count}", cache_result_in_memory=False)
        write(store, "seed", 1)
        fill(store, count)
        keys = [f"{n * 7919 % count:08x}" for n in range(1000)]
        for key in keys:
            write(store, key, 1)

        def hits(store: ResultStore = store, keys: list[str] = keys) -> None:
            for key in keys:
                assert store.lookup(key, NOW).found

        def misses(store: ResultStore = store, keys: list[str] = keys) -> None:
            for key in keys:
                assert not store.lookup("x" + key, NOW).found

        contenders[f"1,000 hits among {count}"] = hits
        contenders[f"1,000 misses among {count}"] = misses
    show("looking up in a large store", measure(contenders, rounds), next(iter(contenders)))


def fill(store: ResultStore, count: int) -> None:
    """Put that many files into the store's folder, quickly: their content does not matter, their number does."""
    root = Path(store.result_storage.basepath)  # type: ignore[attr-defined]
    seed = root / "seed"
    for n in range(count):
        name = root / f"{n:08x}"
        if n % 30_000 == 0:
            seed = name  # a file can have only so many links
            seed.write_bytes(b"x" * 400)
        else:
            os.link(seed, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds")
    parser.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    parser.add_argument("--only", choices=["array", "frame", "small", "many"])
    options = parser.parse_args()
    quick = options.quick
    parts: dict[str, Callable[[Path], None]] = {
        "array": lambda folder: large_array(folder, 100 if quick else 1024, 3 if quick else 7),
        "frame": lambda folder: frame(folder, 100_000 if quick else 1_000_000, 3 if quick else 7),
        "small": lambda folder: small_records(folder, 7 if quick else 25, 200),
        "many": lambda folder: many_records(folder, [1000, 10_000] if quick else [1000, 100_000, 1_000_000], 9),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            folder = Path(tempfile.mkdtemp(dir=options.folder))
            try:
                part(folder)
            finally:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
