"""What every storage owes those who share it: threads, processes, forked children (see conftest.py)."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from flowstone.filesystems.base import Storage, WriteMode

Open = Callable[[], Storage]

ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))
MEGABYTE = 1 << 20

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def blob_of(number: int, size: int) -> bytes:
    body = bytes([number % 251]) * size
    return hashlib.blake2b(body, digest_size=16).digest() + body


def is_whole(data: bytes) -> bool:
    return hashlib.blake2b(data[16:], digest_size=16).digest() == data[:16]


def run_threads(act: Callable[[int], object], numbers: range) -> None:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            act(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_of_many_who_create_at_once_one_wins(open_storage: Open) -> None:
    if not open_storage().coordinates:
        pytest.skip("promises no coordination")
    for attempt in range(10 * ROUNDS):
        start = threading.Barrier(8)
        won: list[int] = []

        def create(number: int, key: str = f"k{attempt}") -> None:
            storage = open_storage()
            start.wait()
            if storage.put(key, [b"%d" % number], WriteMode.CREATE_ONLY) is not None:
                won.append(number)

        run_threads(create, range(8))
        assert len(won) == 1
        assert content(open_storage(), f"k{attempt}") == b"%d" % won[0]


def test_readers_see_all_of_a_group_or_none(open_storage: Open) -> None:
    if not open_storage().atomic_groups:
        pytest.skip("promises no groups")
    names = ["a", "folder/b", "c"]
    storage = open_storage()
    storage.publish([(name, [b"0"]) for name in names])
    storage.flush()
    stop = threading.Event()
    mixed: list[tuple[int, ...]] = []

    def read(_: int) -> None:
        reader = open_storage()
        while not stop.is_set():
            # Read one after the other, a blob can be of a later group than the one before, but never of an earlier.
            seen = tuple(int(content(reader, name) or b"-1") for name in names)
            if list(seen) != sorted(seen):
                mixed.append(seen)
            time.sleep(0.0002)  # let the writer have the interpreter

    def write(_: int) -> None:
        writer = open_storage()
        until = time.monotonic() + ROUNDS
        for number in range(1, 300 * ROUNDS):
            if time.monotonic() > until:
                break
            writer.publish([(name, [b"%d" % number]) for name in names])
        writer.flush()
        stop.set()

    run_threads(lambda number: read(number) if number else write(number), range(4))
    assert mixed == []


def test_eight_threads_that_write_and_read_one_key_see_whole_blobs(open_storage: Open) -> None:
    storage = open_storage()
    storage.put("k", [blob_of(0, 10)])
    torn = []

    def work(number: int) -> None:
        mine = open_storage()
        for turn in range(15 * ROUNDS):
            size = (10, 70_000, 2 * MEGABYTE)[turn % 3]
            mine.put("k", [blob_of(number, size)])
            data = content(mine, "k")
            if data is None or not is_whole(data):
                torn.append(data and data[:40])

    run_threads(work, range(8))
    assert torn == []


def write_and_read(pickled: bytes, seed: int, turns: int) -> None:
    storage: Storage = pickle.loads(pickled)
    for turn in range(turns):
        storage.put("k", [blob_of(seed + turn, (10, 70_000, 2 * MEGABYTE)[turn % 3])])
        data = content(storage, "k")
        if data is None or not is_whole(data):
            raise SystemExit(3)
    storage.flush()


def test_processes_that_write_and_read_one_key_see_whole_blobs(shared: Open) -> None:
    storage = shared()
    storage.put("k", [blob_of(0, 10)])
    storage.flush()
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=write_and_read, args=(pickle.dumps(storage), seed, 15 * ROUNDS)) for seed in (1, 100)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        data = content(storage, "k")
        assert data is not None
        assert is_whole(data)
    assert [process.exitcode for process in processes] == [0, 0]


ANSWER = """
import pickle, sys
storage = pickle.load(sys.stdin.buffer)
storage.put("answer", [b"got ", bytes(storage.get("k").data)])
storage.flush()
"""


def test_a_new_process_reads_and_writes_the_same_place(shared: Open) -> None:
    storage = shared()
    storage.put("k", [b"from here"])
    storage.flush()
    subprocess.run([sys.executable, "-c", ANSWER], input=pickle.dumps(storage), check=True, timeout=60)
    assert content(storage, "answer") == b"got from here"


def test_a_storage_works_in_a_forked_child_whatever_threads_were_doing(open_storage: Open) -> None:
    storage = open_storage()
    storage.put("k", [b"x" * 100])
    storage.flush()
    stop = threading.Event()

    def churn() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            storage.put(f"churn{number % 5}", [b"y" * 1000])

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(5):
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    storage.put(f"child{number}", [b"z"])
                    storage.flush()
                    code = 0 if content(storage, f"child{number}") == b"z" and content(storage, "k") else 2
                finally:
                    os._exit(code)
            deadline = time.monotonic() + 20
            while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.005)
            if not ended[0]:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                pytest.fail("the child hangs")
            assert os.waitstatus_to_exitcode(ended[1]) == 0
    finally:
        stop.set()
        thread.join(30)
