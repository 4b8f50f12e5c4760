"""Whatever lies at a record's place: the task gives its right value, and nothing that is not ours is executed."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowstone import task
from flowstone.cache_policies import INPUTS
from flowstone.results import Miss, MissReason, default_store

NOW = 2e9


class Subject:
    """A task whose record can be tampered with, and what it is called upon to give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[int] = []

        @task(cache_policy=INPUTS)
        def double(x: int) -> Any:
            self.runs.append(x)
            return [x * 2]

        self.task = double

    def record(self, x: int = 1) -> Path:
        """Write the record of `x` and return its file."""
        before = set(self.folder.rglob("*"))
        self.task(x)
        (file,) = [p for p in set(self.folder.rglob("*")) - before if p.is_file() and ".flowstone" not in str(p)]
        self.runs.clear()
        return file

    def is_recomputed(self, x: int = 1) -> None:
        """A call computes, a second one is served: the bad record was replaced."""
        assert self.task(x) == [x * 2]
        assert self.runs == [x]
        assert self.task(x) == [x * 2]
        assert self.runs == [x]
        self.runs.clear()

    def reason(self, file: Path) -> MissReason:
        found = default_store().lookup(file.name, NOW)
        assert isinstance(found, Miss)
        return found.reason


@pytest.fixture
def subject(home: Path) -> Subject:
    return Subject(home / "storage")


def replace(file: Path, data: bytes) -> None:
    """Put other bytes in the file's place, as another program would: a new file under the old name."""
    other = file.with_name(f".flowstone-test-{os.urandom(4).hex()}")
    other.write_bytes(data)
    os.replace(other, file)


def test_every_byte_flipped_in_turn(subject: Subject) -> None:
    file = subject.record()
    data = file.read_bytes()
    for position in range(len(data)):
        torn = bytearray(data)
        torn[position] ^= 0xFF
        replace(file, bytes(torn))
        assert subject.reason(file) in (MissReason.DAMAGED, MissReason.NEWER_FORMAT)
        assert subject.task(1) == [2]
    assert len(subject.runs) == len(data)


def test_truncated_at_every_length(subject: Subject) -> None:
    file = subject.record()
    data = file.read_bytes()
    for length in range(len(data)):
        replace(file, data[:length])
        assert subject.reason(file) is MissReason.DAMAGED
        assert subject.task(1) == [2]
    assert len(subject.runs) == len(data)


def test_cut_short_in_its_own_place(subject: Subject) -> None:
    """Not by us and not by any careful program, but it happens."""
    file = subject.record()
    assert subject.task(1) == [2]
    os.truncate(file, 100)
    subject.is_recomputed()


def test_swapped_between_keys(subject: Subject) -> None:
    one, two = subject.record(1), subject.record(2)
    first, second = one.read_bytes(), two.read_bytes()
    replace(one, second)
    replace(two, first)
    assert subject.reason(one) is subject.reason(two) is MissReason.DAMAGED
    subject.is_recomputed(1)
    subject.is_recomputed(2)


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("pwned"),)


def _as_json_of_old(_: bytes) -> bytes:
    return b'{"metadata":{"serializer":{"type":"pickle"}},"result":"gASVCAAAAAAAAABdlEsBYS4="}'


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "plain pickle": lambda data: pickle.dumps(Bomb()),
    "pickle behind our magic": lambda data: data[:8] + pickle.dumps(Bomb()),
    "pickle behind our head": lambda data: data[:160] + pickle.dumps(Bomb()),
    "pickle after the record": lambda data: data + pickle.dumps(Bomb()),
    "pickle as payload": lambda data: data[: -len(pickle.dumps(Bomb()))] + pickle.dumps(Bomb()),
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"hello",
    "json": _as_json_of_old,
    "twice": lambda data: data * 2,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_bytes_are_recomputed_and_not_executed(
    subject: Subject, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = subject.record()
    replace(file, FOREIGN[what](file.read_bytes()))
    assert subject.reason(file) in (MissReason.DAMAGED, MissReason.NEWER_FORMAT)
    assert not default_store().exists(file.name)
    subject.is_recomputed()
    assert not Path("pwned").exists()


def test_signed_by_another_home(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    file = subject.record()
    monkeypatch.setenv("FLOWSTONE_RESULTS_SIGNING_KEY", "theirs")
    replace(file, file.read_bytes())
    assert subject.reason(file) is MissReason.DAMAGED
    subject.is_recomputed()


def test_written_by_a_newer_format(subject: Subject) -> None:
    file = subject.record()
    data = bytearray(file.read_bytes())
    struct.pack_into("<H", data, 40, 2)
    replace(file, bytes(data))
    assert subject.reason(file) is MissReason.NEWER_FORMAT
    subject.is_recomputed()


class Old:
    pass


def test_a_class_renamed_since(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    kinds = [Old]

    @task(cache_policy=INPUTS)
    def make(x: int) -> Any:
        runs.append(x)
        return kinds[0]()

    make(1)
    monkeypatch.setitem(globals(), "New", type("New", (), {"__module__": __name__}))
    monkeypatch.delitem(globals(), "Old")
    kinds[0] = globals()["New"]
    assert type(make(1)).__name__ == "New"
    assert type(make(1)).__name__ == "New"
    assert runs == [1, 1]


def test_a_folder_in_the_record_s_place_costs_the_cache_and_not_the_result(subject: Subject) -> None:
    file = subject.record()
    file.unlink()
    file.mkdir()
    assert subject.task(1) == [2]
    assert subject.task(1) == [2]


def test_a_large_array_with_one_rotten_byte_is_recomputed(home: Path) -> None:
    runs: list[int] = []

    @task(cache_policy=INPUTS)
    def make(n: int) -> Any:
        runs.append(n)
        return np.arange(n)

    make(300_000)
    (file,) = [p for p in (home / "storage").iterdir() if p.is_file() and not p.name.startswith(".flowstone")]
    data = bytearray(file.read_bytes())
    for position in (len(data) - 1, len(data) // 2, 200):
        data[position] ^= 1
        replace(file, bytes(data))
        data[position] ^= 1
        assert np.array_equal(make(300_000), np.arange(300_000))
    assert len(runs) == 4
