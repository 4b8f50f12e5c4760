"""Writing in the background: in order, bounded, seen by the writer at once, and told of when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from flowstone.exceptions import KeyPathError, StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.filesystems.base import Blob, Buffer, Entry, Stamp, Storage, WriteMode
from flowstone.filesystems.write_behind import WriteBehind

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

MEGABYTE = 1 << 20


class Gate(Storage):
    """A storage whose writes wait until they are let through, and fail if they are told to."""

    def __init__(self) -> None:
        self.inner = MemoryFileSystem()
        self.open = threading.Event()
        self.open.set()
        self.wanted: list[tuple[str, ...]] = []
        self.failing: set[str] = set()
        self.lock = threading.Lock()

    def _pass(self, *keys: str) -> None:
        with self.lock:
            self.wanted.append(keys)
        assert self.open.wait(30)
        if self.failing & set(keys):
            raise StoreError(f"no room for {keys[0]}")

    @property
    def identity(self) -> str:
        return self.inner.identity

    def get(self, key: str) -> Blob | None:
        return self.inner.get(key)

    def stamp(self, key: str) -> Stamp | None:
        return self.inner.stamp(key)

    def head(self, key: str, size: int) -> bytes | None:
        return self.inner.head(key, size)

    def put(self, key: str, parts: Sequence[Buffer], mode: str = WriteMode.OVERWRITE) -> Stamp | None:
        self._pass(key)
        return self.inner.put(key, parts, mode)

    def publish(self, group: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
        self._pass(*(key for key, _ in group))
        self.inner.publish(group)

    def delete(self, key: str) -> bool:
        return self.inner.delete(key)

    def scan(self, prefix: str = "") -> Iterator[Entry]:
        return self.inner.scan(prefix)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def storage(gate: Gate) -> WriteBehind:
    return WriteBehind(gate, max_bytes=MEGABYTE)


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def in_thread(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.001)


def test_the_writer_sees_his_writes_before_anybody_else_does(storage: WriteBehind, gate: Gate) -> None:
    gate.inner.put("k", [b"old"])
    gate.open.clear()
    stamp = storage.put("k", [b"n", b"ew"])
    storage.publish([("a", [b"1"]), ("b", [b"2"])])
    assert content(gate, "k") == b"old"
    assert (content(storage, "k"), content(storage, "a"), content(storage, "b")) == (b"new", b"1", b"2")
    assert storage.head("k", 1) == b"n"
    blob = storage.get("k")
    assert blob is not None
    assert blob.stamp == storage.stamp("k") == stamp
    gate.open.set()
    storage.flush()
    assert (content(gate, "k"), content(gate, "a"), content(gate, "b")) == (b"new", b"1", b"2")
    blob = storage.get("k")
    assert blob is not None
    assert blob.stamp == storage.stamp("k") == stamp, "nothing changed, so the stamp does not"


def test_a_refresh_by_others_after_a_write_is_done_has_another_stamp(storage: WriteBehind, gate: Gate) -> None:
    stamp = storage.put("k", [b"mine"])
    storage.flush()
    gate.inner.put("k", [b"theirs"])
    assert storage.stamp("k") != stamp
    assert content(storage, "k") == b"theirs"


def test_writes_of_one_key_are_done_in_order_and_others_beside_them(storage: WriteBehind, gate: Gate) -> None:
    gate.open.clear()
    storage.put("a", [b"1"])
    storage.put("a", [b"2"])
    storage.publish([("a", [b"3"]), ("b", [b"3"])])
    storage.put("b", [b"4"])
    storage.put("c", [b"5"])
    wait_for(lambda: ("c",) in gate.wanted)
    assert ("a", "b") not in gate.wanted
    assert ("b",) not in gate.wanted
    assert gate.wanted.count(("a",)) == 1
    gate.open.set()
    storage.flush()
    assert [keys for keys in gate.wanted if keys != ("c",)] == [("a",), ("a",), ("a", "b"), ("b",)]
    assert {key: content(gate, key) for key in "abc"} == {"a": b"3", "b": b"4", "c": b"5"}


def test_who_writes_faster_than_the_storage_waits(gate: Gate) -> None:
    storage = WriteBehind(gate, max_bytes=1000, workers=1)
    gate.open.clear()
    storage.put("a", [b"x" * 600])
    done = threading.Event()
    thread = in_thread(lambda: (storage.put("b", [b"x" * 600]), done.set()))
    assert not done.wait(0.1)
    gate.open.set()
    assert done.wait(20)
    thread.join()
    storage.flush()
    assert content(gate, "b") is not None


def test_the_number_of_waiting_writes_is_bounded_too(gate: Gate) -> None:
    storage = WriteBehind(gate, max_bytes=MEGABYTE, max_jobs=3, workers=1)
    gate.open.clear()
    done = threading.Event()
    thread = in_thread(lambda: ([storage.put(f"k{number}", [b"x"]) for number in range(20)], done.set()))
    assert not done.wait(0.1)
    assert len(gate.wanted) <= 2
    gate.open.set()
    assert done.wait(20)
    thread.join()
    storage.flush()
    assert len(list(gate.scan())) == 20


def test_a_blob_or_group_larger_than_the_bound_is_written_at_once_and_in_its_turn(gate: Gate) -> None:
    storage = WriteBehind(gate, max_bytes=100)
    storage.put("a", [b"small"])
    storage.put("a", [b"x" * 1000])
    assert content(gate, "a") == b"x" * 1000
    storage.put("b", [b"small"])
    storage.publish([("a", [b"y" * 60]), ("b", [b"y" * 60])])
    assert content(gate, "a") == content(gate, "b") == b"y" * 60


def test_creating_and_deleting_come_after_what_waits(storage: WriteBehind, gate: Gate) -> None:
    gate.open.clear()
    storage.put("a", [b"1"])
    storage.put("b", [b"1"])
    answers: list[object] = []

    def act() -> None:
        answers.append(storage.put("a", [b"2"], WriteMode.CREATE_ONLY))
        answers.append(storage.delete("b"))
        answers.append(storage.stamp("b"))

    thread = in_thread(act)
    time.sleep(0.05)
    assert answers == []
    gate.open.set()
    thread.join(20)
    assert answers == [None, True, None]
    assert content(gate, "a") == b"1"


def test_a_write_that_fails_is_told_by_the_next_flush_and_once(storage: WriteBehind, gate: Gate) -> None:
    gate.inner.put("bad", [b"old"])
    gate.failing = {"bad"}
    storage.put("bad", [b"new"])
    storage.put("good", [b"new"])
    with pytest.raises(StoreError, match=r"1 writes .* no room for bad"):
        storage.flush()
    storage.flush()
    assert content(storage, "bad") == b"old", "what could not be written is not there"
    assert content(storage, "good") == b"new"


def test_a_group_that_fails_is_gone_as_a_whole(storage: WriteBehind, gate: Gate) -> None:
    gate.failing = {"b"}
    gate.open.clear()
    storage.publish([("a", [b"1"]), ("b", [b"1"])])
    assert content(storage, "a") == content(storage, "b") == b"1"
    gate.open.set()
    with pytest.raises(StoreError):
        storage.flush()
    assert content(storage, "a") is content(storage, "b") is None


def test_an_error_of_any_kind_is_told_and_stops_nothing(storage: WriteBehind, gate: Gate) -> None:
    def put(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    working = gate.put
    gate.put = put  # type: ignore[assignment, method-assign]
    storage.put("k", [b"x"])
    with pytest.raises(StoreError, match="ZeroDivisionError: a bug"):
        storage.flush()
    gate.put = working  # type: ignore[method-assign]
    storage.put("k", [b"y"])
    storage.flush()
    assert content(gate, "k") == b"y"


def test_listing_comes_after_what_waits(storage: WriteBehind) -> None:
    for number in range(50):
        storage.put(f"k{number}", [b"x"])
    assert len(list(storage.scan("k"))) == 50


def test_a_bad_key_is_refused_before_it_waits(storage: WriteBehind) -> None:
    for act in (lambda: storage.put("../k", [b"x"]), lambda: storage.publish([("k", [b"x"]), ("../k", [b"x"])])):
        with pytest.raises(KeyPathError):
            act()
    storage.flush()
    assert list(storage.scan()) == []


def test_idle_workers_end_and_come_back(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowstone.filesystems import write_behind

    monkeypatch.setattr(write_behind, "_IDLE_SECONDS", 0.01)
    storage = WriteBehind(gate, max_bytes=MEGABYTE)
    for number in range(3):
        storage.put("k", [b"%d" % number])
        wait_for(lambda: not storage._workers)
        assert content(gate, "k") == b"%d" % number


def test_without_any_thread_flushing_does_the_work(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    storage = WriteBehind(gate, max_bytes=1000, max_jobs=2)
    for number in range(10):
        storage.put(f"k{number}", [b"x" * 300])
    storage.put("k0", [b"created"], WriteMode.CREATE_ONLY)
    storage.flush()
    assert len(list(gate.scan())) == 10


def test_many_threads_that_write_flush_and_read_lose_nothing(gate: Gate) -> None:
    storage = WriteBehind(gate, max_bytes=5000, max_jobs=10)
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(50):
            key = f"k{number}"
            storage.put(key, [b"%d" % turn])
            if content(storage, key) != b"%d" % turn:
                wrong.append((key, turn, content(storage, key)))
            storage.publish([(f"g{number}a", [b"%d" % turn]), (f"g{number}b", [b"%d" % turn])])
            if turn % 10 == 0:
                storage.flush()
            if content(storage, f"g{number}b") != b"%d" % turn:
                wrong.append((turn, "group"))

    threads = [in_thread(lambda number=number: work(number)) for number in range(6)]
    for thread in threads:
        thread.join(60)
    assert wrong == []
    storage.flush()
    for number in range(6):
        assert content(gate, f"k{number}") == content(gate, f"g{number}a") == b"49"


def test_a_forked_child_leaves_the_parents_writes_to_the_parent(storage: WriteBehind, gate: Gate) -> None:
    gate.open.clear()
    storage.put("k", [b"x"])
    storage._changed.acquire()  # as another thread may hold it at the fork
    pid = os.fork()
    if not pid:
        gate.open = threading.Event()
        gate.open.set()
        storage.put("child", [b"y"])
        storage.flush()
        os._exit(0 if content(gate, "child") == b"y" and content(gate, "k") is None else 1)
    storage._changed.release()
    gate.open.set()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    storage.flush()
    assert content(gate, "k") == b"x"


AT_EXIT = """
import sys
from flowstone.filesystems import LocalFileSystem, TieredFileSystem
tier = TieredFileSystem("memory://fast", LocalFileSystem(sys.argv[1]))
for number in range(200):
    tier.put(f"k{number}", [b"x" * 1000])
tier.publish([("a", [b"1"]), ("b", [b"1"])])
"""


def test_what_waits_at_the_end_of_the_process_is_written(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", AT_EXIT, str(tmp_path / "slow")], check=True, timeout=60)
    keys = {entry.key for entry in LocalFileSystem(tmp_path / "slow").scan()}
    assert keys == {"a", "b", *(f"k{number}" for number in range(200))}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_waits_at_the_end_of_a_worker_process_is_written(tmp_path: Path, method: str) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    subprocess.run([sys.executable, script, str(tmp_path / "slow"), method], check=True, timeout=120)
    keys = {entry.key for entry in LocalFileSystem(tmp_path / "slow").scan()}
    assert keys == {f"{who}{number}" for who in ("process", "pool") for number in range(20)}


WORKERS = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from flowstone.filesystems import LocalFileSystem, TieredFileSystem

class Slow(LocalFileSystem):
    def put(self, *args):
        import time
        time.sleep(0.01)
        return super().put(*args)

def work(who, where):
    tier = TieredFileSystem("memory://fast", Slow(where))
    for number in range(20):
        tier.put(f"{who}{number}", [b"x"])

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    process = context.Process(target=work, args=("process", sys.argv[1]))
    process.start()
    process.join()
    assert process.exitcode == 0
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(work, "pool", sys.argv[1]).result()
"""


def test_what_cannot_be_written_at_the_end_of_the_process_is_said(tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("a file")
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path / "slow")], check=True, timeout=60, capture_output=True, text=True
    )
    assert "201 writes to file://" in done.stderr
    assert "At the end of the process" in done.stderr
