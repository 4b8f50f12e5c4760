"""Records travel in an archive as they are; what is hostile, cut short or foreign does not get in."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone import housekeeping
from flowstone.exceptions import ConfigurationError, StoreError
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.housekeeping import EVERYTHING, Fate, ImportReport, RecordState, Selection
from flowstone.housekeeping.archive import LIST
from flowstone.records import FORMAT, RecordInfo
from flowstone.records.container import FORMAT_FIELD, TAG_END
from flowstone.results import ResultStore
from flowstone.signing import Keyring

House = Any
NOW = 4_000_000_000.0
DAY = 86400.0
THEIRS = Keyring.from_text("theirs")
LARGE = b"\x01" * 50_000


@pytest.fixture
def other(tmp_path: Path, make_house: type[House]) -> House:
    """A second store, empty."""
    return make_house(LocalFileSystem(tmp_path / "other"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


def export(house: House, path: Path, where: Any = EVERYTHING, **options: Any) -> housekeeping.ExportReport:
    return housekeeping.export(house.store, where, path, now=NOW, **options)


def import_(house: House, path: Path, **options: Any) -> ImportReport:
    return housekeeping.import_(house.store, path, now=NOW, **options)


def fates(report: ImportReport) -> dict[str, Fate]:
    return {each.key: each.fate for each in report.imports}


def fill(house: House) -> dict[str, object]:
    """Write records of every shape; return their values."""
    values: dict[str, object] = {"small": [1], "a/b/large": LARGE, "ü" * 80: "x", "arrays": [bytes(5000)] * 3}
    for number, (key, value) in enumerate(values.items()):
        house.write(key, value, created=NOW - number, expires=NOW + 9, task_name="load", duration=number)
    return values


# --- the round trip


def test_what_is_exported_is_what_is_imported_to_the_byte(house: House, other: House, archive: Path) -> None:
    values = fill(house)
    exported = export(house, archive)
    report = import_(other, archive)

    assert report.ok
    assert set(fates(report)) == other.keys() == set(values)
    assert exported.records == report.count(Fate.IMPORTED) == len(values)
    assert {key: other.value(key) for key in values} == values
    assert housekeeping.check(other.store, now=NOW).clean
    if house.payloads is house.storage:
        assert {key: other.raw(key) for key in values} == {key: house.raw(key) for key in values}
    for key in values:
        assert other.entry(key).info._replace(size=0) == house.entry(key).info._replace(size=0)


def test_every_kind_of_store_can_take_an_archive(house: House, local: House, archive: Path, other: House) -> None:
    values = fill(other)
    export(other, archive)

    assert import_(house, archive).ok
    assert {key: house.value(key) for key in values} == values
    assert housekeeping.check(house.store, now=NOW).clean


def test_halves_stay_halves_between_stores_that_keep_them(split: House, make_house: Any, archive: Path) -> None:
    values = fill(split)
    export(split, archive)
    target = make_house(MemoryFileSystem(), MemoryFileSystem())

    assert import_(target, archive).ok
    assert {key: target.value(key) for key in values} == values
    assert {key: target.raw(key) for key in values} == {key: split.raw(key) for key in values}


def test_an_archive_is_a_tar_file_that_anybody_can_read(local: House, archive: Path) -> None:
    fill(local)
    export(local, archive)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        member = tar.extractfile("records/small")
        assert member is not None
        assert member.read() == local.raw("small")

    assert names[-1] == LIST
    assert "records/a/b/large" in names


def test_a_selection_is_all_that_is_exported(house: House, other: House, archive: Path) -> None:
    house.write("a", task_name="load")
    house.write("b", task_name="train")
    export(house, archive, Selection(task="train"))

    assert set(fates(import_(other, archive))) == {"b"}


def test_an_archive_of_nothing_is_an_archive(house: House, other: House, archive: Path) -> None:
    assert export(house, archive).records == 0
    assert import_(other, archive) == ImportReport(())


@settings(max_examples=20)
@given(values=st.dictionaries(st.text("abc/é ", min_size=1, max_size=12), st.integers(0, 9000), max_size=6))
def test_any_records_go_round(values: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    stores = [ResultStore(MemoryFileSystem(), keyring=THEIRS) for _ in range(2)]
    for key in list(values):
        try:
            stores[0].publish([stores[0].stage(RecordInfo(key, NOW), bytes(values[key]))])
        except ValueError:  # no key
            del values[key]
    path = tmp_path_factory.mktemp("round") / "a.tar"
    housekeeping.export(stores[0], Selection(), path, now=NOW)
    housekeeping.import_(stores[1], path, now=NOW)

    assert {key: len(stores[1].read(key).result) for key in values} == values
    assert housekeeping.stats(stores[1], now=NOW).total == housekeeping.stats(stores[0], now=NOW).total


# --- exporting


def test_what_is_not_whole_and_ours_is_left_out_and_told(house: House, other: House, archive: Path) -> None:
    house.write("fine")
    house.write("theirs", ring=THEIRS)
    house.write("broken", LARGE)
    data = bytearray(house.payloads.get("broken").data)
    data[-1] ^= 1
    house.payloads.put("broken", [data])
    house.put_raw(b"", "ab" * 32)
    report = export(house, archive)

    assert {key for key, _ in report.left_out} == {"theirs", "broken", "ab" * 32}
    assert all(why for _, why in report.left_out)
    assert set(fates(import_(other, archive))) == {"fine"}


def test_an_archive_is_not_overwritten_unless_told(local: House, archive: Path) -> None:
    archive.write_text("dear")
    with pytest.raises(StoreError, match="there already"):
        export(local, archive)
    assert archive.read_text() == "dear"
    export(local, archive, overwrite=True)
    assert tarfile.is_tarfile(archive)


def test_an_export_that_fails_leaves_nothing_behind(local: House, tmp_path: Path, monkeypatch: Any) -> None:
    local.write()
    target = tmp_path / "out"
    target.mkdir()
    monkeypatch.setattr(tarfile.TarFile, "addfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))

    with pytest.raises(StoreError, match="No space left"):
        export(local, target / "a.tar")
    assert os.listdir(target) == []
    with pytest.raises(StoreError):
        export(local, tmp_path / "missing" / "a.tar")


# --- whom to believe


def test_records_of_another_key_are_refused_without_it(house: House, other: House, archive: Path) -> None:
    other.write("k", LARGE, ring=THEIRS)
    theirs = type(other)(other.storage, keyring=THEIRS)
    export(theirs, archive)
    report = import_(house, archive)

    assert fates(report) == {"k": Fate.REFUSED}
    assert THEIRS.writing.id.hex() in report.imports[0].detail
    assert not report.ok
    assert house.keys() == set()


@pytest.mark.parametrize("how", ["key", "trust"])
def test_with_their_key_or_by_trust_records_come_in_signed_by_ours(
    house: House, make_house: type[House], archive: Path, how: str
) -> None:
    theirs = make_house(MemoryFileSystem(), keyring=THEIRS)
    values: dict[str, object] = {"small": 1, "large": LARGE, "arrays": [bytes(3000)] * 2}
    for key, value in values.items():
        theirs.write(key, value, ring=THEIRS, task_name="load", task_run_id="r1", duration=7, parts=(("inputs", "ab"),))
    export(theirs, archive)
    options = {"keys": [THEIRS.writing]} if how == "key" else {"trust": True}

    assert import_(house, archive, **options).ok
    assert {key: house.value(key) for key in values} == values
    assert house.entry("large").signer == house.store.keyring.writing.id
    for key in values:
        assert house.entry(key).info._replace(size=0) == theirs.entry(key).info._replace(size=0)
    assert housekeeping.check(house.store, now=NOW).clean


def test_an_old_key_that_still_reads_is_ours(make_house: type[House], archive: Path) -> None:
    old = make_house(MemoryFileSystem(), keyring=THEIRS)
    old.write("k", ring=THEIRS)
    export(old, archive)
    both = make_house(MemoryFileSystem(), keyring=Keyring.from_text("new,theirs"))

    assert import_(both, archive).ok
    assert both.raw() == old.raw()


def rebuilt(archive: Path, change: Callable[[str, bytes], bytes | None], rename: Any = lambda name: name) -> None:
    """Rewrite an archive member by member; the sizes in its list follow, its digests do not."""
    members: list[tuple[str, bytes]] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            data = change(member.name, file.read())
            if data is not None:
                members.append((rename(member.name), data))
    pack(archive, members)


def pack(archive: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("options", [{}, {"trust": True}, {"keys": [THEIRS.writing]}])
@pytest.mark.parametrize("position", [60, 130, 300, -1])
def test_a_record_that_was_changed_in_the_archive_is_refused(
    other: House, make_house: type[House], archive: Path, options: dict[str, Any], position: int
) -> None:
    theirs = make_house(MemoryFileSystem(), keyring=THEIRS)
    theirs.write("k", LARGE, ring=THEIRS)
    theirs.write("fine", LARGE, ring=THEIRS)
    export(theirs, archive)

    def change(name: str, data: bytes) -> bytes:
        changed = bytearray(data)
        if name == "records/k":
            changed[position] ^= 1
        return bytes(changed)

    rebuilt(archive, change)
    report = import_(other, archive, **options)

    assert fates(report)["k"] is Fate.REFUSED
    assert (fates(report)["fine"] is Fate.IMPORTED) is bool(options)
    assert other.storage.stamp("k") is None


def test_trust_does_not_let_a_record_in_under_another_key(other: House, make_house: Any, archive: Path) -> None:
    theirs = make_house(MemoryFileSystem(), keyring=THEIRS)
    theirs.write("k", ring=THEIRS)
    export(theirs, archive)
    rebuilt(
        archive,
        lambda name, data: data.replace(b'"key":"k"', b'"key":"z"') if name == LIST else data,
        lambda name: name.replace("/k", "/z"),
    )
    report = import_(other, archive, trust=True)

    assert fates(report) == {"z": Fate.REFUSED}
    assert "another key" in report.imports[0].detail


def test_a_newer_format_is_refused_even_by_trust(other: House, local: House, archive: Path) -> None:
    local.write()
    export(local, archive)

    def change(name: str, data: bytes) -> bytes:
        changed = bytearray(data)
        if name != LIST:
            FORMAT_FIELD.pack_into(changed, TAG_END, FORMAT + 1)
        return bytes(changed)

    rebuilt(archive, change)
    assert fates(import_(other, archive, trust=True)) == {"k": Fate.REFUSED}


@given(st.integers(40, 400), st.binary(min_size=1, max_size=8))
def test_a_trusted_record_with_any_nonsense_in_its_head_is_refused_or_sound(at: int, junk: bytes) -> None:
    from blake3 import blake3

    from flowstone.housekeeping.archive import Packed
    from flowstone.housekeeping.customs import Inspector, Refused
    from flowstone.housekeeping.shelf import Shelf

    theirs = ResultStore(MemoryFileSystem(), keyring=THEIRS)
    theirs.publish([theirs.stage(RecordInfo("k", NOW), [1])])
    data = bytearray(theirs.result_storage.get("k").data)  # type: ignore[union-attr]
    data[at : at + len(junk)] = junk
    view = memoryview(bytes(data))
    ours = ResultStore(MemoryFileSystem(), keyring=Keyring.from_text("ours"))
    inspector = Inspector(Shelf(ours, NOW), [], trust=True)
    try:
        sound = inspector.accept(Packed("k", (view,), (blake3(view).hexdigest(),)))
    except Refused:
        return
    ours.result_storage.put("k", sound.parts)
    assert housekeeping.check(ours, now=NOW).clean


# --- what is here already


def test_a_record_that_is_here_already_is_the_same(house: House, archive: Path) -> None:
    fill(house)
    export(house, archive)

    assert set(fates(import_(house, archive)).values()) == {Fate.SAME}


def test_a_newer_record_is_not_overwritten_unless_told(house: House, other: House, archive: Path) -> None:
    other.write("k", "old", created=NOW - 9)
    export(other, archive)
    house.write("k", "new", created=NOW - 1)

    assert fates(import_(house, archive)) == {"k": Fate.KEPT}
    assert house.value() == "new"
    assert import_(house, archive, overwrite=True).count(Fate.IMPORTED) == 1
    assert house.value() == "old"


def test_an_older_or_damaged_record_is_replaced(house: House, other: House, archive: Path) -> None:
    for key in ("older", "broken"):
        other.write(key, "new", created=NOW - 1)
    export(other, archive)
    house.write("older", "old", created=NOW - 9)
    house.write("broken", "old", created=NOW)
    house.flip(60, "broken")

    assert import_(house, archive).count(Fate.IMPORTED) == 2
    assert house.value("older") == house.value("broken") == "new"


def test_a_record_damaged_deep_inside_is_replaced_by_its_sound_twin(house: House, archive: Path) -> None:
    house.write("k", LARGE)
    export(house, archive)
    data = bytearray(house.payloads.get("k").data)
    data[-1] ^= 1
    house.payloads.put("k", [data])

    assert fates(import_(house, archive)) == {"k": Fate.IMPORTED}
    assert house.value() == LARGE


def test_what_cannot_be_judged_is_not_overwritten_unless_told(house: House, other: House, archive: Path) -> None:
    other.write("k", "new")
    export(other, archive)
    house.write("k", "theirs", ring=THEIRS)

    assert fates(import_(house, archive)) == {"k": Fate.KEPT}
    assert house.entry().state is RecordState.FOREIGN
    assert import_(house, archive, overwrite=True).ok
    assert house.value() == "new"


def test_a_key_that_is_locked_is_in_use(local: House, other: House, archive: Path) -> None:
    other.write("k")
    export(other, archive)
    manager = local.store.lock_manager
    manager.acquire_lock("k", "a run")
    try:
        report = import_(local, archive)
    finally:
        manager.release_lock("k", "a run")

    assert fates(report) == {"k": Fate.IN_USE}
    assert not report.ok
    assert local.keys() == set()


@pytest.mark.parametrize("before", [None, "old"])
def test_a_record_written_while_it_is_imported_stays(
    make_house: type[House], other: House, archive: Path, before: str | None
) -> None:
    class Late(MemoryFileSystem):
        armed = 0

        def stamp(self, key: str) -> Any:
            before = super().stamp(key)
            self.armed -= 1
            if self.armed == 0:
                house.write("k", "meanwhile", created=NOW)
            return super().stamp(key) if before else None  # of none there was, none is what the importer saw

    house = make_house(storage := Late())
    other.write("k", "imported", created=NOW - 5)
    export(other, archive)
    if before is not None:
        house.write("k", before, created=NOW - 9)
    storage.armed = 2 if before else 1
    report = import_(house, archive)

    assert fates(report) == {"k": Fate.KEPT}
    assert house.value() == "meanwhile"


def test_a_dry_run_says_what_would_come_and_writes_nothing(house: House, other: House, archive: Path) -> None:
    values = fill(other)
    export(other, archive)

    assert import_(house, archive, dry_run=True).count(Fate.IMPORTED) == len(values)
    assert house.keys() == set()


# --- all or none


def test_together_all_come_in_one_step(local: House, other: House, archive: Path, monkeypatch: Any) -> None:
    values = fill(other)
    export(other, archive)
    groups: list[int] = []
    publish = LocalFileSystem.publish
    monkeypatch.setattr(
        LocalFileSystem, "publish", lambda self, group: groups.append(len(group)) or publish(self, group)
    )

    assert import_(local, archive, together=True).ok
    assert groups == [len(values)]
    assert {key: local.value(key) for key in values} == values


def test_together_one_that_is_refused_holds_back_all(house: House, make_house: Any, archive: Path) -> None:
    theirs = make_house(MemoryFileSystem(), keyring=Keyring.from_text("ours,theirs"))
    theirs.write("a")
    theirs.write("b", ring=THEIRS)
    theirs.write("c")
    export(theirs, archive)
    report = import_(house, archive, together=True)

    assert fates(report) == {"a": Fate.HELD_BACK, "b": Fate.REFUSED, "c": Fate.HELD_BACK}
    assert not report.ok
    assert house.keys() == set()


def test_together_what_is_here_already_holds_back_nobody(house: House, other: House, archive: Path) -> None:
    for key in ("a", "b"):
        other.write(key)
    export(other, archive)
    house.write("a")

    assert fates(import_(house, archive, together=True)) == {"a": Fate.SAME, "b": Fate.IMPORTED}
    assert house.keys() == {"a", "b"}


def test_together_needs_a_storage_that_publishes_groups(make_house: Any, other: House, archive: Path) -> None:
    class OneByOne(MemoryFileSystem):
        atomic_groups = False

    export(other, archive)
    with pytest.raises(ConfigurationError, match="one step"):
        import_(make_house(OneByOne()), archive, together=True)


# --- hostile archives


def listing(*lines: dict[str, Any], **title: Any) -> bytes:
    first = {"flowstone-archive": 1, "records": len(lines), **title}
    return "\n".join([json.dumps(first), *map(json.dumps, lines), ""]).encode()


def line(key: str = "k", size: int = 1, **more: Any) -> dict[str, Any]:
    return {"key": key, "folders": ["records"], "sizes": [size], "digests": ["0" * 64], **more}


LINK = tarfile.TarInfo("records/k")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "/etc/passwd"
HARD = tarfile.TarInfo("records/k")
HARD.type, HARD.linkname = tarfile.LNKTYPE, "/etc/passwd"
DEVICE = tarfile.TarInfo("records/k")
DEVICE.type = tarfile.CHRTYPE
SPARSE = tarfile.TarInfo("records/k")
SPARSE.type = tarfile.GNUTYPE_SPARSE

HOSTILE: dict[str, list[Any]] = {
    "nothing listed": [("records/k", b"x")],
    "no list of ours": [("records/k", b"x"), (LIST, b"{}\n")],
    "of a later format": [(LIST, listing(**{"flowstone-archive": 2}))],
    "listed and missing": [(LIST, listing(line()))],
    "there and not listed": [("records/k", b"x"), (LIST, listing())],
    "another size": [("records/k", b"xy"), (LIST, listing(line()))],
    "a negative size": [("records/k", b"x"), (LIST, listing(line(size=-1)))],
    "an escape": [("records/../../k", b"x"), (LIST, listing(line("../../k")))],
    "an absolute path": [("records//etc/passwd", b"x"), (LIST, listing(line("/etc/passwd")))],
    "our own folder": [("records/.flowstone/locks", b"x"), (LIST, listing(line(".flowstone/locks")))],
    "control characters": [("records/a\nb", b"x"), (LIST, listing(line("a\nb")))],
    "twice in it": [("records/k", b"x"), ("records/k", b"x"), (LIST, listing(line()))],
    "twice in the list": [("records/k", b"x"), (LIST, listing(line(), line()))],
    "fewer than said": [("records/k", b"x"), (LIST, listing(line(), records=2))],
    "no line": [("records/k", b"x"), (LIST, listing(line())[:-1])],
    "a line without end": [(LIST, listing() + b"x" * 100_000 + b"\n")],
    "a bottomless line": [(LIST, listing() + b"[" * 60_000 + b"\n")],
    "a list for a line": [(LIST, listing() + b"[]\n")],
    "no text": [(LIST, b"\xff\xfe\n")],
    "strange folders": [("records/k", b"x"), (LIST, listing(line(folders=["records", "records"])))],
    "folders of lists": [("records/k", b"x"), (LIST, listing(line(folders=[["records"]])))],
    "strange digests": [("records/k", b"x"), (LIST, listing(line(digests=[5])))],
    "a key that is none": [("records/k", b"x"), (LIST, listing(line(key=5)))],  # type: ignore[arg-type]
    "a link": [LINK, (LIST, listing(line()))],
    "a hard link": [HARD, (LIST, listing(line()))],
    "a device": [DEVICE, (LIST, listing(line()))],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_of_it_is_used(local: House, archive: Path, name: str) -> None:
    with tarfile.open(archive, "w") as tar:
        for member in HOSTILE[name]:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    with pytest.raises(StoreError, match="not an archive"):
        import_(local, archive, trust=True)
    assert not os.path.exists(local.storage.basepath)


def test_a_member_that_claims_to_be_larger_than_the_file_is_refused(local: House, archive: Path) -> None:
    header = tarfile.TarInfo("records/k")
    header.size = 1 << 40
    archive.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"x" * 512 + bytes(10240))
    with pytest.raises(StoreError):
        import_(local, archive, trust=True)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [-1, -512, -1024, -(1 << 40)])
def test_a_member_of_less_than_nothing_is_refused_and_not_read_for_ever(
    local: House, archive: Path, kind: bytes, size: int
) -> None:
    first, second = tarfile.TarInfo("records/j"), tarfile.TarInfo("records/k")
    second.size, second.type = size, kind
    archive.write_bytes(first.tobuf() + second.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(StoreError, match="not an archive"):
        import_(local, archive, trust=True)


def test_a_sparse_member_is_refused(local: House, archive: Path) -> None:
    member = tarfile.TarInfo("records/k")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    member.size = 512
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO(b"1\n0\n1\n".ljust(512, b"\0")))
    with pytest.raises(StoreError, match="not a plain file"):
        import_(local, archive, trust=True)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 2048, b"PK\x03\x04" + bytes(600), b"\x1f\x8b" + bytes(600)])
def test_what_is_no_archive_at_all_is_refused(local: House, archive: Path, content: bytes) -> None:
    archive.write_bytes(content)
    with pytest.raises(StoreError):
        import_(local, archive)


def test_a_missing_archive_or_a_folder_is_an_error_that_says_so(local: House, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing\.tar"):
        import_(local, tmp_path / "missing.tar")
    with pytest.raises(StoreError):
        import_(local, tmp_path)


@given(data=st.data())
def test_an_archive_cut_short_anywhere_is_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    store = ResultStore(MemoryFileSystem(), keyring=THEIRS)
    for key in ("a", "b"):
        store.publish([store.stage(RecordInfo(key, NOW), b"\x01" * 3000)])
    path = tmp_path_factory.mktemp("cut") / "a.tar"
    housekeeping.export(store, Selection(), path, now=NOW)
    whole = path.read_bytes()
    end = whole.rindex(b"}\n") + 2
    path.write_bytes(whole[: data.draw(st.integers(0, end - 1))])
    with pytest.raises(StoreError):
        housekeeping.import_(ResultStore(MemoryFileSystem(), keyring=THEIRS), path, now=NOW)


@settings(max_examples=150)
@given(data=st.data())
def test_an_archive_with_any_flipped_byte_never_brings_a_wrong_value(
    data: st.DataObject, tmp_path_factory: Any
) -> None:
    store = ResultStore(MemoryFileSystem(), keyring=THEIRS)
    values = {"a": [1, 2], "b": b"\x01" * 6000}
    for key, value in values.items():
        store.publish([store.stage(RecordInfo(key, NOW), value)])
    path = tmp_path_factory.mktemp("flip") / "a.tar"
    housekeeping.export(store, Selection(), path, now=NOW)
    flipped = bytearray(path.read_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(flipped)
    target = ResultStore(MemoryFileSystem(), keyring=THEIRS)
    try:
        housekeeping.import_(target, path, now=NOW)
    except StoreError:
        assert list(target.result_storage.scan()) == []
    for entry in housekeeping.entries(target, now=NOW):
        assert target.read(entry.key).result == values[entry.key]
