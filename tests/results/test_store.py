"""The result store as people know it: results by hand, locks, stores made from stores."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowstone import flow, modes, task
from flowstone.exceptions import ConfigurationError, KeyPathError, LockError, MissingResult
from flowstone.filesystems import LocalFileSystem, MemoryFileSystem, NullFileSystem
from flowstone.locking.memory import MemoryLockManager
from flowstone.results import (
    Hit,
    Miss,
    MissReason,
    ResultRecord,
    ResultRecordMetadata,
    ResultStore,
    default_store,
    get_result_store,
)
from flowstone.serializers import JSONSerializer


def test_what_is_written_is_read(bench: Any) -> None:
    store = bench.store
    store.write({"a": 1}, "k")
    record = store.read("k")

    assert isinstance(record, ResultRecord)
    assert record.result == {"a": 1}
    assert record.metadata.storage_key == "k"
    assert record.metadata.serializer == "pickle"
    assert record.metadata.flowstone_version
    assert record.expiration is None
    assert (datetime.now(UTC) - record.metadata.created) < timedelta(minutes=1)
    assert "k" in repr(record)


def test_exists_reads_no_payload(bench: Any) -> None:
    assert not bench.store.exists("k")
    bench.store.write(object, "k")
    assert bench.store.exists("k")


def test_a_missing_result_says_why(bench: Any) -> None:
    with pytest.raises(MissingResult, match="'k': no record"):
        bench.store.read("k")


def test_an_expiration_is_kept_to_the_second(bench: Any) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    bench.store.write(1, "k", expiration=later)
    assert abs(bench.store.read("k").expiration - later) < timedelta(milliseconds=1)

    bench.store.write(1, "local", expiration=datetime.now() + timedelta(hours=1))
    assert bench.store.exists("local")
    bench.store.write(1, "k", expiration=datetime.now(UTC) - timedelta(seconds=1))
    assert not bench.store.exists("k")
    with pytest.raises(MissingResult, match="expired"):
        bench.store.read("k")


def test_a_result_without_a_key_gets_a_new_one(bench: Any) -> None:
    one, two = bench.store.create_result_record(1), bench.store.create_result_record(1)
    assert one.metadata.storage_key != two.metadata.storage_key
    bench.store.persist_result_record(one)
    assert bench.store.read(one.metadata.storage_key).result == 1

    named = bench.other(storage_key_fn=lambda: "mine").store
    named.write(5)
    assert named.read("mine").result == 5


def test_deleting_says_whether_there_was_one(bench: Any) -> None:
    bench.store.write(1, "k")
    assert bench.store.read("k").result == 1
    assert bench.store.delete("k")
    assert not bench.store.delete("k")
    assert not bench.store.exists("k")


@pytest.mark.parametrize("key", ["../k", "", "a\0b"])
def test_a_key_outside_the_store_is_refused_by_hand_too(bench: Any, key: str) -> None:
    for act in (lambda: bench.store.write(1, key), lambda: bench.store.delete(key)):
        with pytest.raises(KeyPathError):
            act()
    assert not bench.store.exists(key)


def test_every_method_has_a_twin_for_event_loops(bench: Any) -> None:
    store = bench.store

    async def main() -> None:
        await store.awrite([1], "k")
        assert await store.aexists("k")
        assert (await store.aread("k")).result == [1]
        assert isinstance(await store.alookup("k", 1.0), Hit)
        assert await store.adelete("k")
        assert not await store.aexists("k")
        await store.apersist_result_record(store.create_result_record(2, "k2"))
        assert (await store.aread("k2")).result == 2
        with pytest.raises(MissingResult):
            await store.aread("k")

    asyncio.run(main())


# --- records by their public names -------------------------------------------------------------------------------


def test_a_record_from_a_look_up_loads_when_its_result_is_asked_for(bench: Any) -> None:
    bench.write([1])
    record = bench.find(load=False).as_result_record()
    assert record.result == [1]
    bench.storage.delete("k")
    assert record.result == [1], "once loaded it is kept"

    bench.write([1])
    late = bench.find(load=False).as_result_record()
    bench.storage.delete("k")
    with pytest.raises(MissingResult):
        _ = late.result


def test_metadata_is_compared_by_what_it_says(bench: Any) -> None:
    bench.write([1])
    one, two = bench.find().as_result_record().metadata, bench.find().as_result_record().metadata
    assert one == two
    assert hash(one) == hash(two)
    assert one != ResultRecordMetadata(one.info._replace(key="other"))


def test_a_record_pickles_once_its_result_is_there(bench: Any) -> None:
    bench.write([1])
    record = bench.find().as_result_record()
    again = pickle.loads(pickle.dumps(record))
    assert again.result == [1]
    assert again.metadata == record.metadata


# --- locks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(bench: Any) -> ResultStore:
    return bench.other(lock_manager=MemoryLockManager()).store  # type: ignore[no-any-return]


def test_locks_are_those_of_the_lock_manager(locked: ResultStore) -> None:
    assert locked.acquire_lock("k", "me")
    assert locked.is_locked("k")
    assert locked.is_lock_holder("k", "me")
    assert not locked.is_lock_holder("k", "you")
    assert not locked.acquire_lock("k", "you", timeout=0.01)
    assert not locked.wait_for_lock("k", timeout=0.01)
    locked.release_lock("k", "me")
    assert locked.wait_for_lock("k", timeout=1)
    with pytest.raises(LockError):
        locked.release_lock("k", "me")


def test_the_holder_is_the_calling_thread_if_nobody_is_named(locked: ResultStore) -> None:
    assert locked.acquire_lock("k")
    assert locked.is_lock_holder("k")
    locked.release_lock("k")
    assert not locked.is_locked("k")


def test_locks_have_twins_for_event_loops(locked: ResultStore) -> None:
    async def main() -> None:
        assert await locked.aacquire_lock("k", "me")
        assert not await locked.aacquire_lock("k", "you", timeout=0.01)
        assert not await locked.await_for_lock("k", timeout=0.01)
        await locked.arelease_lock("k", "me")
        assert await locked.await_for_lock("k", timeout=1)

    asyncio.run(main())


def test_who_does_not_hold_the_lock_cannot_write(locked: ResultStore) -> None:
    locked.acquire_lock("k", "me")
    with pytest.raises(LockError, match="another holder"):
        locked.write(1, "k", holder="you")
    locked.write(2, "k", holder="me")
    assert locked.read("k", holder="me").result == 2
    locked.release_lock("k", "me")
    locked.write(3, "k")


def test_reading_waits_for_the_writer(locked: ResultStore, together: Any) -> None:
    locked.write("old", "k")
    locked.acquire_lock("k", "writer")

    def part(index: int) -> object:
        if index:
            return locked.read("k", holder="reader").result
        import time

        time.sleep(0.05)
        locked.write("new", "k", holder="writer")
        locked.release_lock("k", "writer")
        return None

    assert together(2, part) == [None, "new"]


def test_a_store_without_locks_says_what_to_do() -> None:
    store = ResultStore(NullFileSystem())
    with pytest.raises(ConfigurationError, match="lock_manager="):
        store.acquire_lock("k")
    assert not store.supports_isolation_level("SERIALIZABLE")
    assert store.supports_isolation_level(modes.IsolationLevel.READ_COMMITTED)


def test_a_storage_brings_its_own_lock_manager(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert store.lock_manager is not None
    assert store.lock_manager is store.lock_manager
    assert store.supports_isolation_level("SERIALIZABLE")


# --- where it is -------------------------------------------------------------------------------------------------


def test_a_storage_is_named_by_path_or_url(tmp_path: Path) -> None:
    for given in (tmp_path / "s", str(tmp_path / "s"), f"file://{tmp_path}/s", LocalFileSystem(tmp_path / "s")):
        store = ResultStore(given)
        assert store.result_storage.identity == f"file://{tmp_path}/s"
    assert ResultStore("memory://here").identity == "memory://here"


def test_without_a_storage_it_is_as_the_settings_say(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ResultStore().identity == f"file://{home}/storage"
    monkeypatch.setenv("FLOWSTONE_RESULTS_DEFAULT_STORAGE", "memory://elsewhere")
    monkeypatch.setenv("FLOWSTONE_RESULTS_DEFAULT_SERIALIZER", "json")
    monkeypatch.setenv("FLOWSTONE_RESULTS_VERIFY", "header")
    monkeypatch.setenv("FLOWSTONE_RESULTS_SAFE_SERIALIZERS_ONLY", "true")
    monkeypatch.setenv("FLOWSTONE_RESULTS_MEMORY_BYTES", "0")
    store = ResultStore()
    assert store.identity == "memory://elsewhere"
    assert store.serializer.name == "json"
    assert (store.verify_all, store.safe_serializers_only, store._memory) == (False, True, None)


def test_durability_is_that_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWSTONE_RESULTS_DURABILITY", "safe")
    for store in (ResultStore(), ResultStore(tmp_path)):
        assert isinstance(store.result_storage, LocalFileSystem)
        assert store.result_storage.durability == "safe"


def test_the_default_store_is_one_as_long_as_the_settings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    first = default_store()
    assert default_store() is first
    assert get_result_store() is first
    monkeypatch.setenv("FLOWSTONE_RESULTS_DEFAULT_SERIALIZER", "json")
    assert default_store() is not first
    monkeypatch.delenv("FLOWSTONE_RESULTS_DEFAULT_SERIALIZER")
    assert default_store() is first


def test_the_prevailing_store_is_that_of_the_task_then_of_the_flow() -> None:
    @task(result_storage="memory://task", persist_result=True)
    def inner() -> tuple[str, str]:
        return get_result_store().identity, get_result_store().serializer.name

    @flow(result_storage="memory://flow", result_serializer="json")
    def outer() -> tuple[str, Any]:
        return get_result_store().identity, inner()

    assert outer() == ("memory://flow", ("memory://task", "json"))


def test_the_signing_key_of_the_settings_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = MemoryFileSystem()
    monkeypatch.setenv("FLOWSTONE_RESULTS_SIGNING_KEY", "team")
    ResultStore(storage).write(1, "k")
    monkeypatch.setenv("FLOWSTONE_HOME", str(tmp_path / "another home"))
    assert ResultStore(storage).read("k").result == 1
    monkeypatch.setenv("FLOWSTONE_RESULTS_SIGNING_KEY", "next,team")
    assert ResultStore(storage).read("k").result == 1
    monkeypatch.delenv("FLOWSTONE_RESULTS_SIGNING_KEY")
    found = ResultStore(storage).lookup("k", 0.0)
    assert isinstance(found, Miss)
    assert found.reason is MissReason.DAMAGED


def test_looking_for_what_is_not_there_makes_no_key_and_no_folder(home: Path) -> None:
    assert not ResultStore().exists("k")
    assert not home.exists()


def test_a_key_file_that_cannot_be_used_is_said_once_and_costs_only_the_cache(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir()
    (home / "signing.key").write_text("nonsense")
    (home / "signing.key").chmod(0o600)
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            store = ResultStore()
            store.write(n, "k")
            assert store.read("k").result == n, "this process trusts itself"
    assert [record.message for record in caplog.records if "signs records" in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == 1


# --- stores made from stores -------------------------------------------------------------------------------------


def test_a_task_s_options_make_a_store_of_its_own(bench: Any, tmp_path: Path) -> None:
    locks = MemoryLockManager()
    policy = SimpleNamespace(key_storage=tmp_path / "heads", lock_manager=locks)
    task = SimpleNamespace(
        result_storage=tmp_path / "payloads",
        result_serializer="json",
        cache_result_in_memory=False,
        cache_policy=policy,
    )
    store = bench.store.update_for_task(task)

    assert store.identity == f"file://{tmp_path}/heads|file://{tmp_path}/payloads"
    assert store.serializer.name == "json"
    assert store.lock_manager is locks
    assert store._memory is None
    assert store.keyring is bench.store.keyring
    assert bench.store.identity == bench.storage.identity
    store.write([1], "k")
    assert store.read("k").result == [1]


def test_options_that_say_nothing_change_nothing(bench: Any) -> None:
    bench.write(1)
    store = bench.store.update_for_task(SimpleNamespace(result_storage=None, result_serializer=None))
    assert store.identity == bench.store.identity
    assert store.serializer is bench.store.serializer
    assert store._memory is bench.store._memory


def test_a_flow_s_options_make_a_store_of_its_own(bench: Any) -> None:
    flow = SimpleNamespace(result_storage="memory://flow", result_serializer=JSONSerializer())
    store = bench.store.update_for_flow(flow)
    assert (store.identity, store.serializer.name) == ("memory://flow", "json")


def test_a_new_place_has_its_own_natural_locks(tmp_path: Path) -> None:
    store = ResultStore(NullFileSystem())
    assert store.lock_manager is None
    assert store.update_for_flow(SimpleNamespace(result_storage=tmp_path)).lock_manager is not None


def test_a_store_pickles_with_its_keys_and_speaks_of_the_same_place(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s", serializer="json")
    store.write([1], "k")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read('k').result)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(store),
        capture_output=True,
        env={**os.environ, "FLOWSTONE_HOME": str(tmp_path / "elsewhere")},
        check=True,
    )
    assert ran.stdout.decode() == "[1]\n"


def test_a_store_says_what_it_is(bench: Any, tmp_path: Path) -> None:
    assert repr(bench.storage) in repr(bench.store)
    assert "metadata_storage" in repr(ResultStore(tmp_path / "a", tmp_path / "b"))
    assert "ABSENT" in repr(bench.find())
    bench.write(1)
    assert "'k'" in repr(bench.find())
