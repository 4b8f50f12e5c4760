"""Many at one key: everybody reads one whole record, whoever writes, forks or replaces meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowstone.exceptions import MissingResult
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.records import RecordInfo
from flowstone.results import Hit, ResultStore
from flowstone.signing import Keyring

NOW = 1e9
ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))


def make_store(folder: Path | str) -> ResultStore:
    return ResultStore(LocalFileSystem(folder), keyring=Keyring.from_text("race"))


def write(store: ResultStore, value: object) -> None:
    store.publish([store.stage(RecordInfo(key="k", created=NOW), value)])


def value_of(seed: int, size: int) -> Any:
    """A value of which every part says which writer it comes from."""
    return {"seed": seed, "array": np.full(size, seed), "again": [seed] * 5}


def check(value: Any) -> None:
    seed = value["seed"]
    assert (value["array"] == seed).all()
    assert value["again"] == [seed] * 5


WRITER = """
import sys, time
import numpy as np
from flowstone.exceptions import MissingResult
from flowstone.filesystems import LocalFileSystem
from flowstone.records import RecordInfo
from flowstone.results import ResultStore
from flowstone.signing import Keyring
folder, size, seed, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
store = ResultStore(LocalFileSystem(folder), keyring=Keyring.from_text("race"))
end = time.monotonic() + seconds
n = 0
while time.monotonic() < end:
    n += 1
    value = {"seed": seed * 1000000 + n, "array": np.full(size, seed * 1000000 + n), "again": [seed * 1000000 + n] * 5}
    store.publish([store.stage(RecordInfo(key="k", created=1e9), value)])
print(n)
"""


@pytest.mark.parametrize("size", [10, 2000, 300_000])
def test_two_processes_and_eight_threads_at_one_key(tmp_path: Path, size: int) -> None:
    store = make_store(tmp_path)
    write(store, value_of(0, size))
    seconds = 0.5 * ROUNDS
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(size), str(seed), str(seconds)], stdout=subprocess.PIPE
        )
        for seed in (1, 2)
    ]
    troubles: list[object] = []
    seen: set[int] = set()
    done = threading.Event()

    def work(index: int) -> None:
        try:
            while not done.is_set():
                found = store.lookup("k", NOW)
                assert isinstance(found, Hit), found
                value: Any = found.value
                check(value)
                seen.add(value["seed"])
                value["array"][:] = -1
                value["again"].clear()
                if index < 2:
                    write(store, value_of(index, size))
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    written = [int(writer.communicate()[0]) for writer in writers]
    done.set()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert min(written) > 0
    assert {seed // 1_000_000 for seed in seen} >= {1, 2}, "both writers were seen"


def test_a_record_read_while_it_is_replaced_stays_as_it_was(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    write(store, value_of(1, 300_000))
    found = store.lookup("k", NOW)
    assert isinstance(found, Hit)
    for seed in range(2, 5):
        write(store, value_of(seed, 300_000))
    check(found.value)
    assert found.value["seed"] == 1  # type: ignore[index]


def test_a_record_replaced_between_its_head_and_its_value_is_not_mixed(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    stop = threading.Event()
    write(store, value_of(0, 5000))

    def writer() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            write(store, value_of(n, 5000))

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        end = time.monotonic() + 0.3 * ROUNDS
        while time.monotonic() < end:
            found = store.lookup("k", NOW, load=False)
            assert isinstance(found, Hit)
            with suppress(MissingResult):
                check(found.load())
    finally:
        stop.set()
        thread.join()


def test_threads_of_one_memory_place_never_share_a_value() -> None:
    store = ResultStore(MemoryFileSystem(), keyring=Keyring.from_text("race"))
    write(store, value_of(7, 5000))
    troubles: list[object] = []

    def work() -> None:
        try:
            for _ in range(200):
                found = store.lookup("k", NOW)
                assert isinstance(found, Hit)
                value: Any = found.value
                check(value)
                value["array"][:] = threading.get_ident() % 1000
                value["again"].append(1)
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_under_way_goes_on_by_itself(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    write(store, value_of(1, 2000))
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            store.lookup("k", NOW)
            write(store, value_of(2, 2000))

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    for n in range(20):
                        found = store.lookup("k", NOW)
                        check(found.value)
                        write(store, value_of(n, 2000))
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_store_sent_to_a_child_reads_and_writes_there(tmp_path: Path, method: str) -> None:
    store = make_store(tmp_path)
    store.write([1], "k")
    assert store.read("k").result == [1]
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(store.read, ("k",)).result == [1]
        pool.apply(store.write, ([2], "k"))
    assert store.read("k").result == [2]
