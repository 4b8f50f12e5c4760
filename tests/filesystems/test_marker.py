"""The marker of a store, and file systems that are careless of case."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstone.exceptions import StoreError
from flowstone.filesystems import LocalFileSystem
from flowstone.filesystems.base import Storage

ChangeOs = Callable[..., None]


def content(storage: Storage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


def keys(storage: Storage) -> set[str]:
    return {entry.key for entry in storage.scan()}


def internal(store: Path) -> set[str]:
    return {str(path.relative_to(store / ".flowstone")) for path in (store / ".flowstone").rglob("*")}


# The marker.


def test_the_first_write_marks_the_folder_as_a_store(storage: LocalFileSystem, store: Path) -> None:
    storage.put("k", [b"x"])
    assert (store / ".flowstone-store").read_text() == "flowstone store\nformat: 1\nnames: exact\n"


def test_a_store_of_a_newer_format_is_refused_and_left_alone(store: Path) -> None:
    LocalFileSystem(store).put("k", [b"x"])
    (store / ".flowstone-store").write_text("flowstone store\nformat: 2\nnames: exact\nmore: things\n")
    before = internal(store)
    for act in (
        lambda storage: storage.get("k"),
        lambda storage: storage.stamp("k"),
        lambda storage: storage.put("k", [b"y"]),
        lambda storage: storage.publish([("a", [b"y"]), ("b", [b"y"])]),
        lambda storage: storage.delete("k"),
        lambda storage: list(storage.scan()),
        lambda storage: storage.sweep(),
    ):
        with pytest.raises(StoreError, match=r"format 2.*newer flowstone"):
            act(LocalFileSystem(store))
    assert (store / "k").read_bytes() == b"x"
    assert internal(store) == before


@pytest.mark.parametrize("text", ["garbage", "flowstone store\n", "flowstone store\nformat: x\n", "\x80"])
def test_a_marker_that_is_none_is_refused(store: Path, text: str) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="not a marker"):
        LocalFileSystem(store).put("k", [b"x"])
    with pytest.raises(StoreError, match="not a marker"):
        LocalFileSystem(store).get("k")


def test_an_unknown_naming_is_refused(store: Path) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: reversed\n")
    with pytest.raises(StoreError, match="reversed"):
        LocalFileSystem(store).get("k")


@pytest.mark.parametrize("blank", [b"", b"\0" * 40])
def test_a_marker_lost_in_a_power_failure_is_made_anew(store: Path, blank: bytes) -> None:
    LocalFileSystem(store).put("k", [b"x"])
    (store / ".flowstone-store").write_bytes(blank)
    storage = LocalFileSystem(store)
    assert content(storage, "k") == b"x"
    storage.put("k", [b"y"])
    assert (store / ".flowstone-store").read_text().startswith("flowstone store\nformat: 1\n")


# A file system that takes `A` and `a`, and the two ways to write `é`, for one name.


def folded(path: object) -> object:
    if not isinstance(path, str):
        return path
    folder, slash, name = path.rpartition("/")
    if ".flowstone" in path and "-A" not in path and "-a" not in path:
        return path
    return f"{folder}{slash}{unicodedata.normalize('NFC', name).lower()}"


@pytest.fixture
def careless_disk(change_os: ChangeOs) -> None:
    """Fold the last part of every path, as such a file system would."""

    def folding(name: str) -> Callable[..., object]:
        real = getattr(os, name)
        return lambda *args, **kwargs: real(*map(folded, args), **kwargs)

    names = ("open", "stat", "lstat", "replace", "rename", "link", "unlink", "access")

    class Path:
        lexists = staticmethod(lambda path: os.path.lexists(folded(path)))  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(os.path, name)

    change_os(**{name: folding(name) for name in names}, path=Path())


@pytest.mark.usefixtures("careless_disk")
def test_on_a_file_system_that_ignores_case_names_are_written_so_that_none_collide(
    storage: LocalFileSystem, store: Path
) -> None:
    names = ["abc", "Abc", "ABC", "e\u0301", "\u00e9", "f/A", "F/a", "100%", "100%25"]
    for name in names:
        storage.put(name, [name.encode()])
    for name in names:
        assert content(storage, name) == name.encode()
    assert keys(storage) == set(names)
    assert "names: caseless" in (store / ".flowstone-store").read_text()
    assert (store / "%41bc").read_bytes() == b"Abc"
    assert (store / "abc").read_bytes() == b"abc", "what cannot collide keeps its name"
    storage.publish([("Abc", [b"1"]), ("aBc", [b"2"])])
    assert content(storage, "Abc") == b"1"
    assert content(storage, "abc") == b"abc"


def test_a_store_keeps_its_naming_on_whatever_disk_it_comes_to(store: Path) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: caseless\n")
    storage = LocalFileSystem(store)
    storage.put("Abc", [b"x"])
    assert (store / "%41bc").exists()
    assert content(LocalFileSystem(store), "Abc") == b"x"


def test_a_key_too_long_for_such_a_file_system_is_refused_with_a_reason(store: Path) -> None:
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: caseless\n")
    with pytest.raises(StoreError, match="hash the key"):
        LocalFileSystem(store).put("A" * 200, [b"x"])
