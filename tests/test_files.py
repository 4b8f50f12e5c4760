"""Files and directories as arguments: by content, and read once."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from flowstone import files
from flowstone.exceptions import HashError
from flowstone.files import Dir, File, Memo
from flowstone.hashing import token

LATER = 10_000_000_000  # ns
MEGABYTE = b"x" * (1 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.bin"
    file.write_bytes(MEGABYTE)
    return file


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files read, in order."""
    done: list[str] = []
    read = files._read
    monkeypatch.setattr(files, "_read", lambda path: (done.append(path), read(path))[1])
    return done


def settled(directory: Path | None = None) -> Memo:
    """A memo to which everything was changed long ago."""
    import time

    return Memo(directory, now=lambda: time.time_ns() + LATER)


def test_a_file_is_path_like_frozen_and_travels() -> None:
    file = File("a/b")

    assert os.fspath(file) == str(file) == file.path == "a/b"
    assert file == File(Path("a/b"))
    assert file != File("a/c")
    assert file != Dir("a/b")
    assert len({file, File("a/b"), Dir("a/b")}) == 2
    assert pickle.loads(pickle.dumps(file)) == file
    assert repr(file) == "File('a/b')"
    with pytest.raises(AttributeError, match="does not change"):
        file.path = "x"  # type: ignore[misc]
    with pytest.raises(TypeError, match="text path"):
        File(b"a")  # type: ignore[arg-type]


def test_a_file_is_known_by_its_bytes_alone(tmp_path: Path) -> None:
    for name, content in {"a": "1", "b": "1", "c": "2"}.items():
        (tmp_path / name).write_text(content)

    assert token(File(tmp_path / "a")) == token(File(tmp_path / "b"))
    assert token(File(tmp_path / "a")) != token(File(tmp_path / "c"))


def test_a_changed_file_has_another_token_even_within_one_tick_of_the_clock(path: Path) -> None:
    before = token(File(path))
    stat = path.stat()
    path.write_bytes(b"y" * len(MEGABYTE))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert token(File(path)) != before


def test_an_unchanged_file_is_read_once(path: Path, reads: list[str]) -> None:
    memo = settled()

    assert memo.digest(str(path)) == memo.digest(str(path))
    assert len(reads) == 1


def test_a_file_changed_a_moment_ago_is_read_again(path: Path, reads: list[str]) -> None:
    memo = Memo()
    memo.digest(str(path))
    memo.digest(str(path))

    assert len(reads) == 2


@pytest.mark.parametrize("change", ["content", "times", "replaced"])
def test_a_file_with_another_stamp_is_read_again(path: Path, reads: list[str], change: str) -> None:
    memo = settled()
    before = memo.digest(str(path))
    if change == "content":
        path.write_bytes(MEGABYTE + b"y")
    elif change == "times":
        os.utime(path, ns=(1, 1))
    else:
        other = path.with_name("other")
        other.write_bytes(MEGABYTE)
        other.replace(path)

    assert (memo.digest(str(path)) == before) is (change != "content")
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = files._read
    contents = [b"second", b"third"]

    def read_and_change(name: str) -> bytes:
        digest = read(name)
        if contents:
            path.write_bytes(contents.pop(0))
        return digest

    monkeypatch.setattr(files, "_read", read_and_change)
    found = Memo().digest(str(path))

    assert found == read(str(path))


def test_a_file_that_never_stays_the_same_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(range(1, 100))
    read = files._read
    monkeypatch.setattr(files, "_read", lambda name: (read(name), path.write_bytes(b"x" * next(sizes)))[0])

    with pytest.raises(HashError, match="keeps changing"):
        Memo().digest(str(path))


def test_other_processes_are_told_of_large_files(tmp_path: Path, path: Path, reads: list[str]) -> None:
    first = settled(tmp_path / "memo").digest(str(path))

    assert settled(tmp_path / "memo").digest(str(path)) == first
    assert len(reads) == 1


def test_small_files_leave_no_notes(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x")
    settled(tmp_path / "memo").digest(str(small))

    assert not (tmp_path / "memo").exists()


@pytest.mark.parametrize("damage", [b"", b"garbage", b"1 2 3 4 5\nzz\nzz", None])
def test_a_damaged_note_counts_for_nothing(tmp_path: Path, path: Path, reads: list[str], damage: bytes | None) -> None:
    expected = settled(tmp_path / "memo").digest(str(path))
    (note,) = (tmp_path / "memo").iterdir()
    content = note.read_bytes()
    note.write_bytes(content.replace(b"\n", b"\n0", 1)[: len(content)] if damage is None else damage)

    assert settled(tmp_path / "memo").digest(str(path)) == expected
    assert len(reads) == 2


def test_a_note_holds_for_its_own_path_only(tmp_path: Path, path: Path, reads: list[str]) -> None:
    memo = settled(tmp_path / "memo")
    memo.digest(str(path))
    other = path.with_name("other")
    other.write_bytes(b"y" * len(MEGABYTE))
    os.replace(memo._note(str(path)), memo._note(str(other)))

    assert settled(tmp_path / "memo").digest(str(other)) == files._read(str(other))


def test_a_memo_that_cannot_be_written_is_no_failure(tmp_path: Path, path: Path) -> None:
    (tmp_path / "memo").write_text("a file where the folder should be")

    assert settled(tmp_path / "memo").digest(str(path))


def test_the_memo_forgets_what_is_over_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_REMEMBERED", 2)
    memo = settled()
    for name in "abc":
        (tmp_path / name).write_text(name)
        memo.digest(str(tmp_path / name))

    assert len(memo._known) == 2


def tree(top: Path, **contents: str) -> Dir:
    for name, content in contents.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content)
    return Dir(top)


def test_a_directory_is_known_by_names_kinds_and_contents(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", **{"a": "1", "sub/b": "2"})
    two = tree(tmp_path / "two", **{"sub/b": "2", "a": "1"})

    assert token(one) == token(two)
    (tmp_path / "two" / "sub" / "empty").mkdir()
    assert token(one) != token(two)


def test_links_are_followed_and_dead_ones_count_by_their_target(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", a="1")
    two = tree(tmp_path / "two")
    (tmp_path / "two").mkdir(exist_ok=True)
    (tmp_path / "two" / "a").symlink_to(tmp_path / "one" / "a")
    assert token(one) == token(two)

    (tmp_path / "two" / "a").unlink()
    (tmp_path / "two" / "a").symlink_to("nowhere")
    dead = token(two)
    (tmp_path / "two" / "a").unlink()
    (tmp_path / "two" / "a").symlink_to("elsewhere")
    assert len({token(one), dead, token(two)}) == 3


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", a="1")
    (tmp_path / "top" / "again").symlink_to(tmp_path / "top")

    with pytest.raises(HashError, match="folder around it"):
        token(top)


def test_a_pipe_in_a_directory_is_refused_and_not_opened(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", a="1")
    os.mkfifo(tmp_path / "top" / "pipe")

    with pytest.raises(HashError, match="not a regular file"):
        token(top)


def test_a_missing_file_says_so_and_where_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(HashError, match=r"inputs\['f'\].*No such file"):
        token(File(tmp_path / "none"), "inputs['f']")


def test_what_is_known_can_be_kept_in_a_folder(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_memo", files._memo)
    files.remember_in(tmp_path / "memo")
    os.utime(path, ns=(1, 1))
    token(File(path))

    assert files._memo.directory == str(tmp_path / "memo")
