"""The registry of storages on which tests/contracts/test_storages*.py run.

To add one: write a fixture that returns a function which, each time it is called, makes a storage object for the same
place, which is empty at first; then name the fixture in STORAGES. What the storage does not promise
(`coordinates`, `atomic_groups`) is not asked of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstone.filesystems import LocalFileSystem, MemoryFileSystem
from flowstone.filesystems.base import Storage
from flowstone.filesystems.tiered import TieredFileSystem

Open = Callable[[], Storage]

STORAGES = {
    "memory": "open_memory",
    "local": "open_local",
    "local-safe": "open_local_safe",
    "local-caseless": "open_local_caseless",
    "tiered-memory-local": "open_tiered",
    "tiered-three": "open_tiered_three",
    "tiered-write-back": "open_tiered_write_back",
    "tiered-read-only": "open_tiered_read_only",
    "objects-s3": "open_s3",
    "objects-azure": "open_azure",
    "remote-memory": "open_remote_memory",
    "remote-file": "open_remote_file",
}

NOT_SHARED = {"memory", "tiered-read-only-memory", "remote-memory"}
"""Storages that another process cannot see."""


@pytest.fixture(params=list(STORAGES))
def open_storage(request: pytest.FixtureRequest) -> Open:
    """A function that makes objects for one place, of each implementation in turn."""
    make: Open = request.getfixturevalue(STORAGES[request.param])
    return make


@pytest.fixture
def storage(open_storage: Open) -> Storage:
    return open_storage()


@pytest.fixture
def shared(request: pytest.FixtureRequest, open_storage: Open) -> Open:
    """As `open_storage`, of those implementations that several processes can share."""
    if request.node.callspec.params["open_storage"] in NOT_SHARED:
        pytest.skip("lives in one process by nature")
    return open_storage


@pytest.fixture
def open_memory() -> Open:
    name = f"test-{os.urandom(8).hex()}"
    return lambda: MemoryFileSystem(name)


@pytest.fixture
def open_local(tmp_path: Path) -> Open:
    return lambda: LocalFileSystem(tmp_path / "store")


@pytest.fixture
def open_local_safe(tmp_path: Path) -> Open:
    return lambda: LocalFileSystem(tmp_path / "store", durability="safe")


@pytest.fixture
def open_local_caseless(tmp_path: Path) -> Open:
    """A store that was made on a file system which takes `A` and `a` for one name."""
    store = tmp_path / "store"
    store.mkdir()
    (store / ".flowstone-store").write_text("flowstone store\nformat: 1\nnames: caseless\n")
    return lambda: LocalFileSystem(store)


@pytest.fixture
def open_tiered(tmp_path: Path) -> Open:
    return lambda: TieredFileSystem(MemoryFileSystem(), LocalFileSystem(tmp_path / "slow"), write_back=False)


@pytest.fixture
def open_tiered_three(tmp_path: Path) -> Open:
    return lambda: TieredFileSystem(
        MemoryFileSystem(),
        LocalFileSystem(tmp_path / "cache"),
        LocalFileSystem(tmp_path / "slow"),
        write_back=False,
    )


@pytest.fixture
def open_tiered_write_back(tmp_path: Path) -> Iterator[Open]:
    """Objects share one tier here: what waits to be written is seen by its own object only."""
    tier = TieredFileSystem(MemoryFileSystem(), LocalFileSystem(tmp_path / "slow"))
    yield lambda: tier
    tier.flush()


@pytest.fixture
def open_tiered_read_only(tmp_path: Path) -> Open:
    return lambda: TieredFileSystem(
        MemoryFileSystem(),
        LocalFileSystem(tmp_path / "mine"),
        LocalFileSystem(tmp_path / "theirs"),
        read_only=True,
    )
