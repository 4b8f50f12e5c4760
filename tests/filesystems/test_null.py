"""The storage that keeps nothing."""

from __future__ import annotations

import pickle

import pytest

from flowstone.exceptions import KeyPathError
from flowstone.filesystems import NullFileSystem
from flowstone.filesystems.base import WriteMode


def test_it_accepts_everything_and_keeps_nothing() -> None:
    storage = NullFileSystem()
    assert storage.put("k", [b"x"]) is not None
    assert storage.put("k", [b"x"], WriteMode.CREATE_ONLY) is not None
    storage.publish([("a", [b"x"]), ("b", [b"x"])])
    storage.write_path("k", b"x")
    assert storage.get("k") is storage.stamp("k") is storage.head("k", 1) is None
    assert list(storage.scan()) == []
    assert storage.delete("k") is False
    assert storage.read_path("k") == b""
    assert storage.natural_lock_manager() is None


def test_it_refuses_keys_that_no_storage_takes() -> None:
    with pytest.raises(KeyPathError):
        NullFileSystem().put("../k", [b"x"])


def test_a_copy_is_the_same_nowhere() -> None:
    assert pickle.loads(pickle.dumps(NullFileSystem())).identity == NullFileSystem().identity
