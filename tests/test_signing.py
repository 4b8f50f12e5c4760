"""Whose records are trusted: keys from a shared text, or from a file that only its owner may read."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowstone.exceptions import ConfigurationError
from flowstone.signing import KEY_FILE, Keyring, SigningKey, load_keyring


class Said(list[str]):
    def __call__(self, message: str) -> None:
        self.append(message)


@pytest.fixture
def said() -> Said:
    return Said()


def test_the_same_text_gives_the_same_key_everywhere() -> None:
    assert Keyring.from_text("team").writing == SigningKey.from_text("team")
    assert SigningKey.from_text("team").id.hex() == "63a4dfca82e4ba2d", "a change here makes every record foreign"


def test_different_texts_give_different_keys() -> None:
    assert SigningKey.from_text("a") != SigningKey.from_text("b")
    assert SigningKey.from_text("a").id != SigningKey.from_text("b").id


def test_of_several_texts_the_first_writes_and_all_read() -> None:
    ring = Keyring.from_text("new , old")

    assert ring.writing == SigningKey.from_text("new")
    assert set(ring.reading) == {SigningKey.from_text("new").id, SigningKey.from_text("old").id}


@pytest.mark.parametrize("text", [",", "a,,b", "a,", ""])
def test_an_empty_key_among_several_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must not be empty"):
        Keyring.from_text(text)


def test_a_keyring_pickles_with_its_secrets_and_does_not_print_them() -> None:
    ring = Keyring.from_text("secret-text")

    assert pickle.loads(pickle.dumps(ring)) == ring
    assert ring.writing.secret.hex() not in repr(ring) + repr(ring.writing)


def test_a_home_gets_one_key_that_only_its_owner_can_read(tmp_path: Path, said: Said) -> None:
    home = tmp_path / "home"
    first = load_keyring(None, home, said)
    second = load_keyring("  ", home, said)

    assert first == second
    assert said == []
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600
    assert os.listdir(home) == [KEY_FILE]


def test_two_homes_have_different_keys(tmp_path: Path, said: Said) -> None:
    assert load_keyring(None, tmp_path / "a", said) != load_keyring(None, tmp_path / "b", said)


def test_a_text_beats_the_file_and_makes_none(tmp_path: Path, said: Said) -> None:
    assert load_keyring("team", tmp_path, said) == Keyring.from_text("team")
    assert os.listdir(tmp_path) == []


def test_threads_that_make_the_key_at_once_agree(tmp_path: Path, said: Said) -> None:
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(20):
            home = tmp_path / str(round_)
            rings = list(pool.map(lambda _: load_keyring(None, home, said), range(8)))
            assert len(set(rings)) == 1
            assert os.listdir(home) == [KEY_FILE]
    assert said == []


def test_processes_that_make_the_key_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from flowstone.signing import load_keyring\n"
        "print(load_keyring(None, sys.argv[1], print).writing.secret.hex())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({process.communicate()[0] for process in started}) == 1


@pytest.mark.skipif(os.name == "nt", reason="mode bits say nothing on Windows")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_file_open_to_others_is_not_used(tmp_path: Path, said: Said, mode: int) -> None:
    trusted = load_keyring(None, tmp_path, said)
    (tmp_path / KEY_FILE).chmod(mode)
    ring = load_keyring(None, tmp_path, said)

    assert ring != trusted
    assert len(said) == 1
    assert "chmod 600" in said[0]
    assert "FLOWSTONE_RESULTS_SIGNING_KEY" in said[0]


@pytest.mark.parametrize("content", [b"", b"not hex", b"abcd", b"\xff\xfe" * 20, b"00" * 33])
def test_a_key_file_that_holds_no_key_is_not_used(tmp_path: Path, said: Said, content: bytes) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)

    ring = load_keyring(None, tmp_path, said)
    assert len(said) == 1
    assert ring == load_keyring(None, tmp_path, said), "all stores of a process share the key that ends with it"
    assert path.read_bytes() == content


def test_a_home_that_cannot_be_is_no_error(tmp_path: Path, said: Said) -> None:
    (tmp_path / "file").write_text("")

    assert load_keyring(None, tmp_path / "file" / "home", said).writing
    assert len(said) == 1


def test_a_key_file_that_is_a_folder_or_a_pipe_is_not_used(tmp_path: Path, said: Said) -> None:
    (tmp_path / "a" / KEY_FILE).mkdir(parents=True)
    load_keyring(None, tmp_path / "a", said)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / KEY_FILE, 0o600)
    load_keyring(None, tmp_path / "b", said)

    assert len(said) == 2


def test_a_file_system_without_hard_links_gets_a_key_too(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first = load_keyring(None, tmp_path, said)

    assert first == load_keyring(None, tmp_path, said)
    assert said == []
    assert os.listdir(tmp_path) == [KEY_FILE]
