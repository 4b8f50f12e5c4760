"""A check finds every kind of fault; a repair removes what cannot be right, and nothing that could be."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from flowstone import housekeeping
from flowstone.clock import Clock, restore_clock, use_clock
from flowstone.exceptions import ConfigurationError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.housekeeping import CheckReport, FaultKind, RecordState, Selection
from flowstone.records import FORMAT, RecordInfo, seal
from flowstone.records.container import FORMAT_FIELD, TAG_END
from flowstone.results import ResultStore
from flowstone.signing import Keyring

House = Any
NOW = 4_000_000_000.0
DAY = 86400.0
THEIRS = Keyring.from_text("theirs")
LARGE = b"\x01" * 50_000


def check(house: House, *args: Any, **options: Any) -> CheckReport:
    return housekeeping.check(house.store, *args, now=NOW, **options)


def kinds(report: CheckReport) -> list[FaultKind]:
    return sorted((fault.kind for fault in report.faults), key=lambda kind: kind.value)


def test_a_store_without_faults_is_clean(house: House) -> None:
    house.write("small")
    house.write("large", LARGE)
    house.write("old", expires=NOW - 1)
    report = check(house)

    assert report.clean
    assert report.ok
    assert report.records == 3
    assert report.bytes == sum(entry.size for entry in house.entries().values())
    assert report.verified >= len(LARGE)


def test_a_missing_store_is_clean(house: House) -> None:
    assert check(house).clean
    assert check(house, repair=True).clean


@pytest.mark.parametrize("position", [50, -1, -30_000])
@pytest.mark.parametrize("kind", ["main", "buffers"])
def test_a_flipped_byte_of_head_main_part_or_buffers_is_found_and_removed(
    house: House, kind: str, position: int
) -> None:
    house.write("fine")
    house.write("k", LARGE if kind == "main" else pickle.PickleBuffer(LARGE))
    assert house.entry().head.buffer_count == (kind == "buffers")
    if position < 0 and house.payloads is not house.storage:
        data = bytearray(house.payloads.get("k").data)
        data[position] ^= 1
        house.payloads.put("k", [data])
    else:
        house.flip(position, mask=1)
    report = check(house)
    (fault,) = report.faults

    assert (fault.kind, fault.where, fault.remedy) == (FaultKind.DAMAGED, "k", "")
    assert not report.ok
    assert house.keys() == {"k", "fine"}
    repaired = check(house, repair=True)
    assert repaired.ok
    assert [fault.remedy for fault in repaired.faults] == ["removed"]
    assert house.keys() == {"fine"}
    assert check(house).clean


def test_a_flip_between_the_buffers_is_found(local: House) -> None:
    info = RecordInfo("k", NOW)
    buffers = [b"\x01" * 3000, b"\x02" * 3000]
    sealed = seal(info, b"main", buffers, local.store.keyring.writing, serializer="pickle")
    whole = b"".join((sealed.head, *sealed.payload))
    for position in range(len(whole) - 6100, len(whole), 13):
        damaged = bytearray(whole)
        damaged[position] ^= 8
        local.put_raw(bytes(damaged))
        assert not check(local).ok, position
    local.put_raw(whole)
    assert check(local).clean


def test_a_record_whose_parts_do_not_make_its_size_is_found_whoever_signed_it(local: House) -> None:
    ring = local.store.keyring
    sealed = seal(RecordInfo("k", NOW), b"main", [b"\x01" * 5000], ring.writing, serializer="pickle")
    head = bytearray(sealed.head)
    at = sealed.head.index(struct.pack("<Q", 5000))
    head[at : at + 8] = struct.pack("<Q", 4000)
    head[8:TAG_END] = blake3(head[TAG_END:], key=ring.writing.secret).digest()
    local.put_raw([bytes(head), *sealed.payload])

    assert kinds(check(local)) == [FaultKind.DAMAGED]


def test_payloads_are_left_alone_if_only_heads_are_asked_for(local: House) -> None:
    local.write(value=LARGE)
    local.flip(-1)

    assert check(local, deep=False).clean
    assert not check(local).clean


@given(st.integers(0, 5000), st.integers(1, 255))
def test_no_flipped_bit_anywhere_passes_a_deep_check(position: int, mask: int) -> None:
    storage = MemoryFileSystem()
    store = ResultStore(storage, keyring=THEIRS)
    sealed = seal(RecordInfo("k", NOW), b"m" * 200, [b"b" * 4000], THEIRS.writing, serializer="pickle")
    data = bytearray(b"".join((sealed.head, *sealed.payload)))
    data[position % len(data)] ^= mask
    storage.put("k", [data])

    assert not housekeeping.check(store, now=NOW).clean


@given(st.integers(0, 5000))
def test_no_record_cut_short_passes(length: int) -> None:
    storage = MemoryFileSystem()
    store = ResultStore(storage, keyring=THEIRS)
    sealed = seal(RecordInfo("ab" * 32, NOW), b"m" * 200, [b"b" * 4000], THEIRS.writing, serializer="pickle")
    data = b"".join((sealed.head, *sealed.payload))
    storage.put("ab" * 32, [data[: length % len(data)]])

    assert kinds(housekeeping.check(store, repair=True, now=NOW)) == [FaultKind.DAMAGED]
    assert storage.stamp("ab" * 32) is None


def test_records_swapped_between_keys_are_found(local: House) -> None:
    local.write("a")
    local.write("b")
    a, b = local.raw("a"), local.raw("b")
    local.put_raw(b, "a")
    local.put_raw(a, "b")

    assert kinds(check(local, repair=True)) == [FaultKind.DAMAGED] * 2
    assert local.keys() == set()


def test_foreign_records_are_told_and_go_only_if_asked_for(house: House) -> None:
    house.write("k", LARGE, ring=THEIRS)
    report = check(house, repair=True)

    assert kinds(report) == [FaultKind.FOREIGN]
    assert report.ok
    assert house.keys() == {"k"}
    assert check(house, repair=True, foreign=True).faults[0].remedy == "removed"
    assert house.keys() == set()


def test_records_of_a_newer_format_are_never_removed(house: House) -> None:
    house.write()
    data = bytearray(house.raw())
    FORMAT_FIELD.pack_into(data, TAG_END, FORMAT + 1)
    house.put_raw(bytes(data))
    report = check(house, repair=True, foreign=True, orphans=True)

    assert kinds(report) == [FaultKind.NEWER]
    assert house.keys() == {"k"}


def test_files_that_are_no_records_are_told_and_never_removed(local: House, folder: Path) -> None:
    local.write()
    (folder / "src").mkdir()
    (folder / "src" / "__init__.py").write_bytes(b"")
    (folder / "notes.txt").write_text("dear")
    (folder / "bad:name").write_text("x")
    (folder / "link").symlink_to(folder / "notes.txt")
    (folder / "objects" / "ab").mkdir(parents=True)
    (folder / "objects" / "ab" / ("c" * 38)).write_bytes(b"git")
    report = check(local, repair=True, foreign=True, orphans=True)

    assert kinds(report) == [FaultKind.STRAY] * 5
    assert report.ok
    assert sorted(os.listdir(folder / "src")) == ["__init__.py"]
    assert {"notes.txt", "bad:name", "link", "objects"} <= set(os.listdir(folder))


def test_a_folder_that_is_no_store_is_not_repaired(make_house: type[House], tmp_path: Path) -> None:
    (tmp_path / ("a" * 64)).write_bytes(b"somebody's")
    house = make_house(LocalFileSystem(tmp_path))

    with pytest.raises(ConfigurationError, match="not a store"):
        check(house, repair=True)
    assert os.listdir(tmp_path) == ["a" * 64]


def test_a_lost_marker_is_made_anew(local: House, folder: Path) -> None:
    local.write()
    (folder / ".flowstone-store").unlink()

    assert kinds(check(local)) == [FaultKind.MARKER]
    assert [fault.remedy for fault in check(local, repair=True).faults] == ["made anew"]
    assert check(local).clean


# --- what writers leave behind


def killed_writer(folder: Path, step: str) -> None:
    """Leave what a writer leaves that is killed in the middle of a file, of a group, or right after its commit."""
    script = (
        "import os, signal, sys\n"
        "from flowstone.filesystems import files, local\n"
        "store = local.LocalFileSystem(sys.argv[1])\n"
        "store.put('first', [b'x'])\n"
        "def die(*args, **kwargs): os.kill(os.getpid(), signal.SIGKILL)\n"
        "if sys.argv[2] == 'file':\n"
        "    local.write_file = lambda *a, **k: (files.write_file(*a, **k), die())\n"
        "    store.put('k', [b'y' * 100])\n"
        "elif sys.argv[2] == 'new':\n"
        "    local.groups.commit = die\n"
        "    store.publish([('k', [b'y']), ('l', [b'y'])])\n"
        "else:\n"
        "    local.groups.settle = die\n"
        "    store.publish([('k', [b'y']), ('l', [b'y'])])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(folder), step], check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process is dead is known for sure on Linux only")
@pytest.mark.parametrize("step", ["file", "new"])
def test_what_a_killed_writer_had_begun_is_found_and_swept(local: House, folder: Path, step: str) -> None:
    killed_writer(folder, step)
    (found,) = [fault for fault in check(local).faults if fault.kind is not FaultKind.STRAY]

    assert found.kind is FaultKind.LEFTOVER
    assert found.size >= 2
    assert os.path.exists(found.where)
    repaired = check(local, repair=True)
    assert [fault.remedy for fault in repaired.faults if fault.kind is FaultKind.LEFTOVER] == ["removed"]
    assert repaired.swept is not None
    assert repaired.swept.removed == 1
    assert not os.path.exists(found.where)
    assert kinds(check(local)) == [FaultKind.STRAY]  # "first" is no record


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_what_a_killed_writer_had_committed_is_found_and_finished(local: House, folder: Path) -> None:
    killed_writer(folder, "group")
    found = [fault for fault in check(local).faults if fault.kind is FaultKind.GROUP]

    assert sorted(fault.where for fault in found) == ["k", "l"]
    assert not (folder / "k").exists()
    repaired = check(local, repair=True)
    assert [fault.remedy for fault in repaired.faults if fault.kind is FaultKind.GROUP] == ["finished"] * 2
    assert (folder / "k").exists()
    assert FaultKind.GROUP not in kinds(check(local))


def test_what_a_living_writer_is_at_is_no_fault(local: House, folder: Path) -> None:
    from flowstone.filesystems.leftovers import temp_name

    local.write()
    mine = folder / ".flowstone" / "tmp" / temp_name()
    mine.write_bytes(b"half")

    assert check(local).clean
    assert check(local, repair=True).clean
    assert mine.exists()


def test_what_nobody_touched_for_long_is_left_over_whoever_made_it(local: House, folder: Path) -> None:
    local.write()
    old = folder / ".flowstone" / "tmp" / "1.2.elsewhere.3"
    old.write_bytes(b"half")

    assert check(local).clean
    os.utime(old, (0, 0))
    assert kinds(check(local)) == [FaultKind.LEFTOVER]
    check(local, repair=True)
    assert not old.exists()


# --- records in halves


def test_a_head_without_a_payload_is_found_and_removed(split: House) -> None:
    split.write("a")
    split.write("b")
    split.payloads.delete("a")

    assert kinds(check(split)) == [FaultKind.HALF]
    assert check(split, repair=True).ok
    assert split.keys() == {"b"}
    assert split.value("b") == "value"


class FinishedMeanwhile(Clock):
    """A clock during whose sleep something happens."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens = happens
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.happens()


@pytest.mark.parametrize("finishes", [True, False])
def test_a_payload_that_is_ahead_of_its_head_is_given_time(make_house: Any, finishes: bool) -> None:
    house, later = (make_house(MemoryFileSystem(), MemoryFileSystem()) for _ in range(2))
    house.write(value=LARGE)
    later.write(value=LARGE * 2)
    house.payloads.put("k", [later.payloads.get("k").data])
    clock = FinishedMeanwhile(lambda: house.put_raw(later.raw()) if finishes else None)
    token = use_clock(clock)
    try:
        report = check(house)
    finally:
        restore_clock(token)

    assert clock.slept == 1
    assert kinds(report) == ([] if finishes else [FaultKind.DAMAGED])


def test_a_record_that_is_removed_between_a_look_at_each_half_is_gone_and_no_half(make_house: Any) -> None:
    class Removed(MemoryFileSystem):
        armed = False

        def stamp(self, key: str) -> Any:
            if self.armed:
                house.store.remove(key)
            return super().stamp(key)

    house = make_house(payloads := Removed(), MemoryFileSystem())
    house.write()
    payloads.armed = True

    assert check(house).clean


def test_a_payload_without_a_head_is_left_to_the_young_and_to_other_stores(split: House, make_house: Any) -> None:
    split.write("a")
    split.write("b")
    split.storage.delete("a")
    whole = make_house(split.payloads)
    whole.write("whole")

    assert housekeeping.check(split.store).clean  # as of today it is young
    report = check(split, repair=True)
    assert [(fault.kind, fault.where, fault.remedy) for fault in report.faults] == [(FaultKind.ORPHAN, "a", "")]
    assert report.ok
    assert check(split, repair=True, orphans=True).faults[0].remedy == "removed"
    assert split.payloads.stamp("a") is None
    assert split.value("b") == "value"
    assert whole.value("whole") == "value"


# --- the signing key


@pytest.mark.skipif(os.name == "nt", reason="modes say nothing there")
@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [("ab" * 32, 0o644, "open to others"), ("ab" * 32, 0o620, "open to others"), ("junk", 0o600, "not hold a key")],
)
def test_a_signing_key_that_will_not_be_used_is_found(
    local: House, tmp_path: Path, content: str, mode: int, says: str
) -> None:
    key = tmp_path / "signing.key"
    key.write_text(content)
    key.chmod(mode)
    report = check(local, repair=True, signing_key_file=key)

    assert kinds(report) == [FaultKind.KEY_FILE]
    assert says in report.faults[0].detail
    assert not report.ok
    assert key.stat().st_mode & 0o777 == mode


def test_a_sound_or_missing_signing_key_is_no_fault_and_none_is_made(local: House, tmp_path: Path) -> None:
    key = tmp_path / "signing.key"
    assert check(local, signing_key_file=key).clean
    assert not key.exists()
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o600)
    assert check(local, signing_key_file=key).clean


def test_with_a_broken_signing_key_nothing_is_removed_as_foreign(local: House, tmp_path: Path) -> None:
    local.write(ring=THEIRS)
    key = tmp_path / "signing.key"
    key.write_text("junk")
    key.chmod(0o600)
    check(local, repair=True, foreign=True, signing_key_file=key)

    assert local.keys() == {"k"}


# --- while others work, and when things fail


def test_a_damaged_record_that_was_written_anew_meanwhile_stays(make_house: type[House], monkeypatch: Any) -> None:
    class Late(MemoryFileSystem):
        asked = 0

        def stamp(self, key: str) -> Any:
            self.asked += 1
            if self.asked == 1:
                house.write(value="new", created=NOW)
            return super().stamp(key)

    house = make_house(Late())
    house.write(value=LARGE)
    house.flip(-1)
    report = check(house, repair=True)

    assert [fault.remedy for fault in report.faults] == ["replaced meanwhile"]
    assert report.ok
    assert house.value() == "new"


def test_a_damaged_record_whose_key_is_locked_stays_and_is_still_a_fault(local: House) -> None:
    local.write()
    local.flip(100)
    manager = local.store.lock_manager
    manager.acquire_lock("k", "a run")
    try:
        report = check(local, repair=True)
    finally:
        manager.release_lock("k", "a run")

    assert not report.ok
    assert "holds the lock" in report.faults[0].detail
    assert local.keys() == {"k"}


def test_a_store_in_use_is_clean_all_the_time(house: House) -> None:
    house.write()

    def work() -> None:
        for turn in range(60):
            house.write(f"k{turn % 5}", b"\x01" * (turn * 200), created=NOW - turn)
            if turn % 7 == 0:
                house.store.remove(f"k{turn % 3}")

    writer = threading.Thread(target=work)
    writer.start()
    reports = []
    while writer.is_alive() or not reports:
        reports.append(check(house, repair=True))
    writer.join()

    serious = [fault for report in reports for fault in report.faults if fault.serious]
    assert not serious


def test_one_record_that_cannot_be_read_does_not_hide_the_others(make_house: type[House]) -> None:
    class Bad(MemoryFileSystem):
        def head(self, key: str, size: int) -> bytes | None:
            if key == "b":
                raise OSError(5, "Input/output error")
            return super().head(key, size)

    house = make_house(Bad())
    for key in ("a", "b", "c"):
        house.write(key)
    house.flip(100, "c")
    report = check(house, repair=True)

    assert kinds(report) == [FaultKind.DAMAGED, FaultKind.UNREADABLE]
    assert house.entries()["b"].state is RecordState.UNREADABLE
    assert house.keys() == {"a", "b"}


def test_a_store_that_cannot_be_listed_is_a_fault(make_house: type[House], tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file lies here")
    report = check(make_house(LocalFileSystem(tmp_path / "store")))

    assert set(kinds(report)) == {FaultKind.UNREADABLE}
    assert not report.ok


def test_a_selection_limits_what_is_checked_and_repaired(house: House) -> None:
    for key in ("a", "b"):
        house.write(key)
        house.flip(60, key)

    assert [fault.where for fault in check(house, Selection(prefix="a"), repair=True).faults] == ["a"]
    assert house.keys() == {"b"}
