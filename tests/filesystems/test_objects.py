"""A storage in an object store: on obstore's memory, on real servers, and on servers that fail."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.exceptions import ConfigurationError, KeyPathError, StoreError
from flowstone.filesystems.base import MAX_SEGMENT_BYTES, check_key
from flowstone.filesystems.object_address import ObjectAddress
from flowstone.filesystems.object_errors import store_error
from flowstone.filesystems.objects import ObjectStorage

PLUGIN = Path(__file__).parents[1] / "plugins" / "object_stores.py"
ROUNDS = int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1"))

# A fork of a process with threads is what these tests are about.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

Place = Callable[..., ObjectStorage]


@pytest.fixture(params=["memory", "s3", "azure"])
def place(request: pytest.FixtureRequest) -> Place:
    """Makes storages in one empty place of each kind."""
    if request.param == "memory":
        make: Place = request.getfixturevalue("lab")
        return make
    server: SimpleNamespace = request.getfixturevalue(f"{request.param}_server")
    prefix = f"test-{os.urandom(6).hex()}"
    return lambda **options: server.storage(prefix, **options)


def data_of(storage: ObjectStorage, key: str) -> bytes | None:
    blob = storage.get(key)
    return None if blob is None else bytes(blob.data)


# --- the same on every service


def test_what_was_put_is_what_is_got_with_the_same_stamp_everywhere(place: Place) -> None:
    storage = place()
    stamp = storage.put("k", [b"he", bytearray(b"ll"), memoryview(b"o")])
    assert storage.get("k") == (b"hello", stamp)
    assert storage.stamp("k") == stamp
    assert place().stamp("k") == stamp
    assert storage.head("k", 3) == b"hel"
    assert storage.head("k", 300) == b"hello"
    assert storage.head("k", 0) == b""
    again = storage.put("k", [b"other"])
    assert again != stamp
    assert storage.stamp("k") == again


def test_what_is_missing_is_none(place: Place) -> None:
    storage = place()
    assert storage.get("k") is None
    assert storage.stamp("k") is None
    assert storage.head("k", 3) is None
    assert storage.delete("k") is False
    assert list(storage.scan()) == []


@pytest.mark.parametrize("parts", [[], [b""], [b"", b""]])
def test_an_empty_blob_is_a_blob(place: Place, parts: list[bytes]) -> None:
    storage = place()
    stamp = storage.put("k", parts)
    assert storage.get("k") == (b"", stamp)
    assert storage.head("k", 3) == b""
    assert [entry.size for entry in storage.scan()] == [0]


def test_a_large_blob_goes_up_in_chunks_and_comes_back_whole(place: Place) -> None:
    storage = place()
    whole = os.urandom(20 << 20)
    parts = [memoryview(whole)[:7], memoryview(whole)[7 : 9 << 20], memoryview(whole)[9 << 20 :]]
    stamp = storage.put("k", parts)
    blob = storage.get("k")
    assert blob is not None
    assert blob.stamp == stamp == storage.stamp("k")
    assert blob.data == whole
    assert storage.put("k2", parts, "create-only") == storage.stamp("k2")
    assert storage.put("k2", parts, "create-only") is None
    assert data_of(storage, "k2") == whole


def test_create_only_has_one_winner_among_racers(place: Place) -> None:
    outcomes: list[object] = []
    barrier = threading.Barrier(8)

    def race(number: int) -> None:
        storage = place()
        barrier.wait()
        outcomes.append(storage.put("k", [str(number).encode()], "create-only"))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [stamp for stamp in outcomes if stamp is not None]
    assert len(outcomes) == 8
    assert place().stamp("k") == won


def test_compare_and_swap_replaces_only_what_it_knows(place: Place) -> None:
    storage = place()
    first = storage.compare_and_swap("k", [b"1"], None)
    assert first is not None
    assert storage.compare_and_swap("k", [b"x"], None) is None
    second = storage.compare_and_swap("k", [b"2"], first)
    assert second is not None
    assert storage.compare_and_swap("k", [b"x"], first) is None
    assert storage.get("k") == (b"2", second)
    assert storage.compare_and_swap("other", [b"x"], first) is None


def test_deleting_says_whether_there_was_something(place: Place) -> None:
    storage = place()
    storage.put("k", [b"1"])
    assert storage.delete("k") is True
    assert storage.delete("k") is False
    assert storage.get("k") is None


def test_a_listing_names_the_keys_under_a_prefix_with_size_and_time(place: Place) -> None:
    storage = place()
    sizes = {"a": 1, "ab": 2, "a/b": 3, "a/bc/d": 4, "b/c": 5, "x/y/z": 6}
    for key, size in sizes.items():
        storage.put(key, [bytes(size)])
    now = time.time()

    def listed(prefix: str) -> dict[str, int]:
        return {entry.key: entry.size for entry in storage.scan(prefix)}

    assert listed("") == sizes
    assert listed("a") == {"a": 1, "ab": 2, "a/b": 3, "a/bc/d": 4}
    assert listed("a/") == {"a/b": 3, "a/bc/d": 4}
    assert listed("a/b") == {"a/b": 3, "a/bc/d": 4}
    assert listed("a/bc/") == {"a/bc/d": 4}
    assert listed("nothing") == listed("x/yy") == {}
    assert all(abs(entry.modified - now) < 30 for entry in storage.scan())


def test_a_group_is_published_whole_and_leaves_nothing_else(place: Place) -> None:
    storage = place()
    storage.put("a", [b"old"])
    storage.publish([("a", [b"new"]), ("b", [bytes(9 << 20)]), ("c/d", [b"x", b"y"])])
    other = place()
    assert (data_of(other, "a"), data_of(other, "c/d")) == (b"new", b"xy")
    assert data_of(other, "b") == bytes(9 << 20)
    assert {entry.key: entry.size for entry in other.scan()} == {"a": 3, "b": 9 << 20, "c/d": 2}


def test_readers_of_groups_published_over_and_over_see_them_whole(place: Place) -> None:
    """Each group carries one number in all its members; two reads in a row never see it fall."""
    keys = ["a", "b", "c"]
    over = threading.Event()
    wrong: list[object] = []

    def write() -> None:
        storage = place()
        for turn in range(1, 8):
            storage.publish([(key, [str(turn).encode()]) for key in keys])
        over.set()

    def watch() -> None:
        storage = place()
        while not over.is_set():
            values = [int(data_of(storage, key) or b"0") for key in keys]
            if values != sorted(values):
                wrong.append(values)

    threads = [threading.Thread(target=write), *(threading.Thread(target=watch) for _ in range(2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert over.is_set()
    assert wrong == []
    assert [data_of(place(), key) for key in keys] == [b"7", b"7", b"7"]


AWKWARD = [
    *("a b", "a#b", "a%b", "a%20b", "a+b", "a?b&c=d", "[x]", "{y}", "x|y^z`<>", "a'b\"c", "x*y", "a=b;c", "!$,@"),
    *("ä/ö", "日本", "emoji😀", "e\u0301", "%2e%2e/x", "A", "a", "a/b/c", "..a", "...x", "a~", "-", "_", " lead"),
    "s" * MAX_SEGMENT_BYTES,
]


def test_a_key_is_the_name_of_its_object_whatever_is_in_it(place: Place) -> None:
    storage = place()
    for key in AWKWARD:
        check_key(key)
        storage.put(key, [b"of " + key.encode()])
    assert {key: data_of(storage, key) for key in AWKWARD} == {key: b"of " + key.encode() for key in AWKWARD}
    assert {entry.key for entry in storage.scan()} == set(AWKWARD)
    assert all(storage.delete(key) for key in AWKWARD)


@given(key=st.text(min_size=1, max_size=30))
def test_every_key_that_passes_the_check_can_be_stored(lab: Place, key: str) -> None:
    storage = lab()
    try:
        check_key(key)
    except KeyPathError:
        with pytest.raises(KeyPathError):
            storage.put(key, [b"x"])
        with pytest.raises(KeyPathError):
            storage.get(key)
        assert not storage.client.requests
        return
    storage.put(key, [b"x"])
    assert data_of(storage, key) == b"x"
    assert storage.delete(key)


def test_a_key_that_is_too_long_with_its_prefix_is_refused() -> None:
    pytest.importorskip("obstore")
    storage = ObjectStorage("s3://bucket/" + "p" * 100, region="x")
    with pytest.raises(KeyPathError, match="1024"):
        storage.put("/".join(["s" * 200] * 4 + ["t" * 150]), [b"x"])


# --- killed for real

KILLED_WRITER = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("object_stores", sys.argv[1])
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)
from flowstone.filesystems.object_address import ObjectAddress
from flowstone.filesystems.objects import ObjectStorage

root, options, step, done = eval(sys.argv[2])
client = plugin.LabClient(ObjectAddress(root, options, timeout=30.0, retries=3))
def die(number, doing, path):
    if number >= step:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(client, "after" if done else "before", die)
ObjectStorage.over(client, conditions=True).publish([("a", [b"new a"]), ("b", [b"new b"]), ("c", [b"new c"])])
print(len(client.requests))
"""


def run_killed(server: SimpleNamespace, root: str, step: int, done: bool) -> subprocess.CompletedProcess[str]:
    work = repr((root, server.options, step, done))
    command = [sys.executable, "-c", KILLED_WRITER, str(PLUGIN), work]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_kill_nine_at_steps_of_a_publish_on_a_real_server(s3_server: SimpleNamespace) -> None:
    """By default every third step, before and after its request in turn; all of them with FLOWSTONE_TEST_ROUNDS=3."""
    prefix = f"kill-{os.urandom(4).hex()}"
    s3_server.storage(f"{prefix}-whole").put("a", [b"old a"])
    whole = run_killed(s3_server, f"{s3_server.root}/{prefix}-whole", 10_000, False)
    assert whole.returncode == 0, whole.stderr
    outcomes = set()
    for step in range(int(whole.stdout) - 1, -1, -max(1, 3 // ROUNDS)):
        storage = s3_server.storage(f"{prefix}-{step}")
        storage.put("a", [b"old a"])
        killed = run_killed(s3_server, f"{s3_server.root}/{prefix}-{step}", step, bool(step % 2))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        values = tuple(data_of(storage, key) for key in "abc")
        assert values in ((b"old a", None, None), (b"new a", b"new b", b"new c"))
        assert {entry.key for entry in storage.scan()} == {key for key, value in zip("abc", values) if value}
        storage.sweep(older_than=-60.0)
        assert tuple(data_of(storage, key) for key in "abc") == values
        outcomes.add(values)
    assert len(outcomes) == 2


# --- a server that ignores conditions


class CarelessServer:
    """Behaves like S3 on single objects, but takes every conditional write."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def __call__(self, handler: object, body: bytes) -> None:
        path = handler.path.split("?")[0]  # type: ignore[attr-defined]
        headers = {"ETag": f'"{hash(self.objects.get(path))}"', "Last_Modified": "Mon, 23 Nov 2026 05:56:37 GMT"}
        command, reply = handler.command, handler.reply  # type: ignore[attr-defined]
        if command == "PUT":
            self.objects[path] = body
            reply(200, ETag=f'"{hash(body)}"')
        elif command == "POST":
            reply(501)  # deletes in bulk, which not every server knows
        elif path not in self.objects:
            reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            reply(200, self.objects[path], **headers)


def test_a_server_that_ignores_conditions_is_found_out_and_gets_no_coordination(faulty_server: object) -> None:
    faulty_server.behave = CarelessServer()  # type: ignore[attr-defined]
    storage: ObjectStorage = faulty_server.storage()  # type: ignore[attr-defined]
    assert storage.put("k", [b"1"]) is not None
    assert len(faulty_server.seen) == 1, "nothing is tried before it matters"  # type: ignore[attr-defined]
    assert storage.coordinates is False
    assert storage.atomic_groups is False
    with pytest.raises(ConfigurationError, match="cannot coordinate"):
        storage.compare_and_swap("k", [b"2"], None)
    manager = storage.natural_lock_manager()
    assert manager is not None
    with pytest.raises(ConfigurationError, match="cannot coordinate"):
        manager.acquire_lock("k", "p")
    tried = len(faulty_server.seen)  # type: ignore[attr-defined]
    assert storage.coordinates is False
    assert pickle.loads(pickle.dumps(storage)).coordinates is False
    assert len(faulty_server.seen) == tried, "tried once"  # type: ignore[attr-defined]
    assert storage.put("k", [b"2"], "create-only") is None
    storage.publish([("a", [b"1"]), ("b", [b"2"])])
    assert (data_of(storage, "a"), data_of(storage, "b")) == (b"1", b"2")


def test_a_real_server_is_found_to_coordinate_and_is_asked_once(place: Place) -> None:
    storage = place()
    assert storage.coordinates is True
    assert storage.atomic_groups is True
    assert list(storage.scan()) == []


# --- what fails


def test_a_bucket_that_does_not_exist_is_an_error_and_not_a_miss(
    s3_server: SimpleNamespace, azure_server: SimpleNamespace
) -> None:
    for root, server in (("s3://no-such-bucket", s3_server), ("az://no-such-container", azure_server)):
        storage = ObjectStorage(f"{root}/x", **server.options)
        with pytest.raises(StoreError, match="does not exist: create it"):
            storage.get("k")
    with pytest.raises(StoreError, match="does not exist: create it"):
        storage.put("k", [b"x"])
    with pytest.raises(StoreError, match="does not exist: create it"):
        list(storage.scan())


def test_wrong_credentials_are_named_and_not_shown(s3_server: SimpleNamespace, azure_server: SimpleNamespace) -> None:
    wrong = [s3_server.storage("x", secret_access_key="hunter2"), azure_server.storage("x", account_key="aHVudGVyMg==")]
    for storage in wrong:
        for act in (lambda: storage.get("k"), lambda: storage.put("k", [b"x"]), lambda: list(storage.scan())):
            with pytest.raises(StoreError, match=r"[Cc]redentials") as caught:
                act()
            assert "hunter2" not in str(caught.value) + repr(storage) + storage.identity
            assert "aHVudGVyMg" not in str(caught.value) + repr(storage) + storage.identity


def test_a_store_that_is_down_is_an_error_soon() -> None:
    pytest.importorskip("obstore")
    storage = ObjectStorage("s3://b/p", endpoint="http://127.0.0.1:1", region="x", skip_signature=True, retries=1)
    began = time.monotonic()
    for act in (lambda: storage.get("k"), lambda: storage.put("k", [b"x"]), lambda: storage.stamp("k")):
        with pytest.raises(StoreError, match="cannot be reached"):
            act()
    with pytest.raises(StoreError, match="cannot be reached"):
        storage.coordinates
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (503, "throttles or is overloaded"),
        (429, "throttles or is overloaded"),
        (507, "full"),
        (403, "Access is denied"),
    ],
)
def test_a_refusal_says_what_to_do(faulty_server: object, status: int, advice: str) -> None:
    faulty_server.behave = lambda handler, body: handler.reply(status)  # type: ignore[attr-defined]
    storage: ObjectStorage = faulty_server.storage()  # type: ignore[attr-defined]
    for act in (lambda: storage.get("k"), lambda: storage.put("k", [b"x"]), lambda: storage.head("k", 5)):
        with pytest.raises(StoreError, match=advice):
            act()


def test_a_passing_overload_is_lived_through(faulty_server: object) -> None:
    careless, refusals = CarelessServer(), iter([503, 500, 429])

    def behave(handler: object, body: bytes) -> None:
        status = next(refusals, None)
        if status is None:
            careless(handler, body)
        else:
            handler.reply(status)  # type: ignore[attr-defined]

    faulty_server.behave = behave  # type: ignore[attr-defined]
    storage: ObjectStorage = faulty_server.storage(retries=5, timeout=10.0)  # type: ignore[attr-defined]
    storage.put("k", [b"x"])
    assert data_of(storage, "k") == b"x"


def hang(server: object) -> Callable[[object, bytes], None]:
    def behave(handler: object, body: bytes) -> None:
        server.over.wait(60)  # type: ignore[attr-defined]
        handler.close_connection = True  # type: ignore[attr-defined]

    return behave


def stall(server: object) -> Callable[[object, bytes], None]:
    def behave(handler: object, body: bytes) -> None:
        handler.reply(  # type: ignore[attr-defined]
            200, b"the beginning", 1000, ETag='"x"', Last_Modified="Mon, 23 Nov 2026 05:56:37 GMT"
        )
        server.over.wait(60)  # type: ignore[attr-defined]
        handler.close_connection = True  # type: ignore[attr-defined]

    return behave


def cut(server: object) -> Callable[[object, bytes], None]:
    def behave(handler: object, body: bytes) -> None:
        handler.reply(  # type: ignore[attr-defined]
            200, b"the beginning", 1000, ETag='"x"', Last_Modified="Mon, 23 Nov 2026 05:56:37 GMT"
        )
        handler.close_connection = True  # type: ignore[attr-defined]

    return behave


@pytest.mark.parametrize("fault", [hang, stall, cut])
def test_a_server_that_stops_answering_is_given_up(faulty_server: object, fault: Callable[..., object]) -> None:
    faulty_server.behave = fault(faulty_server)  # type: ignore[attr-defined]
    storage: ObjectStorage = faulty_server.storage()  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(StoreError):
        storage.get("k")
    if fault is hang:
        for act in (lambda: storage.put("k", [b"x"]), lambda: storage.stamp("k"), lambda: list(storage.scan())):
            with pytest.raises(StoreError, match="does not answer in time"):
                act()
    assert time.monotonic() - began < 15


def test_a_slow_server_is_waited_for(faulty_server: object) -> None:
    careless = CarelessServer()

    def behave(handler: object, body: bytes) -> None:
        time.sleep(0.3)
        careless(handler, body)

    faulty_server.behave = behave  # type: ignore[attr-defined]
    storage: ObjectStorage = faulty_server.storage(timeout=5.0)  # type: ignore[attr-defined]
    storage.put("k", [b"x"])
    assert data_of(storage, "k") == b"x"
    assert len(faulty_server.seen) == 2, "asked once each"  # type: ignore[attr-defined]


def test_a_server_without_entity_tags_is_refused(faulty_server: object) -> None:
    faulty_server.behave = lambda handler, body: handler.reply(  # type: ignore[attr-defined]
        200, b"x", Last_Modified="Mon, 23 Nov 2026 05:56:37 GMT"
    )
    storage: ObjectStorage = faulty_server.storage()  # type: ignore[attr-defined]
    with pytest.raises(StoreError):
        storage.put("k", [b"x"])
    with pytest.raises(StoreError, match="entity tag"):
        storage.get("k")


def test_signatures_in_addresses_are_not_repeated_in_errors() -> None:
    error = store_error(OSError("GET https://a.blob.core.windows.net/c/k?sv=1&sig=SECRET%3D&se=2 failed"), "read", "k")
    assert "SECRET" not in str(error)
    assert "sig=***" in str(error)


# --- addresses and options


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3a://bucket", "s3://bucket"),
        ("gs://bucket/p", "gs://bucket/p"),
        ("gcs://bucket/p", "gs://bucket/p"),
        ("az://container/p", "az://container/p"),
        ("azure://container", "az://container"),
        ("abfss://container@account.dfs.core.windows.net/p", "az://container/p?account=account"),
    ],
)
def test_a_place_has_one_identity_however_it_is_written(
    url: str, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert ObjectStorage(url).identity == identity


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///p", "http://b/p", "file:///x", "s3://b/../x", "s3://b/a//b", "s3://b/p?x=1", "bucket/p"]
)
def test_an_address_that_cannot_be_is_refused_at_once(url: str) -> None:
    pytest.importorskip("obstore")
    with pytest.raises(ConfigurationError):
        ObjectStorage(url)


def test_an_endpoint_of_the_environment_is_part_of_the_place() -> None:
    pytest.importorskip("obstore")

    def address(environ: dict[str, str], **options: object) -> ObjectAddress:
        return ObjectAddress("s3://b/p", options, timeout=1.0, retries=0, environ=environ)

    assert address({}).identity == "s3://b/p"
    assert address({"AWS_ENDPOINT_URL": "http://h:1/"}).identity == "s3://b/p?endpoint=http://h:1"
    assert address({"AWS_ENDPOINT_URL": "http://h:1", "AWS_ENDPOINT_URL_S3": "http://h:2"}).endpoint == "http://h:2"
    assert address({"AWS_ENDPOINT_URL": "http://h:1"}, endpoint="http://h:3").endpoint == "http://h:3"
    account = ObjectAddress("az://c", {}, timeout=1.0, retries=0, environ={"AZURE_STORAGE_ACCOUNT_NAME": "acc"})
    assert account.identity == "az://c?account=acc"


def test_an_unknown_option_is_named() -> None:
    pytest.importorskip("obstore")
    with pytest.raises(ConfigurationError, match="bukket_region"):
        ObjectStorage("s3://b/p", bukket_region="x").get("k")
    with pytest.raises(ConfigurationError, match="timeout"):
        ObjectStorage("s3://b/p", timeout=0)


def test_credentials_of_the_environment_are_used(s3_server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.options["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.options["secret_access_key"])
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.options["endpoint"])
    storage = ObjectStorage("s3://flowstone/environment")
    storage.put("k", [b"x"])
    assert data_of(s3_server.storage("environment"), "k") == b"x"
    copy = pickle.dumps(storage)
    assert s3_server.options["secret_access_key"].encode() not in copy
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert data_of(pickle.loads(copy), "k") == b"x", "the copy speaks of the same place"


# --- other processes, other moments


def test_a_storage_goes_to_a_spawned_process(s3_server: SimpleNamespace) -> None:
    storage = s3_server.storage("spawned")
    storage.put("here", [b"1"])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(storage.read_path, "here").result(60) == b"1"
        pool.submit(storage.write_path, "there", b"2").result(60)
    assert data_of(storage, "there") == b"2"


def in_a_fork(act: Callable[[], object]) -> str:
    """Return what `act` answers or raises in a forked child."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                answer = repr(act())
            except Exception as error:
                answer = repr(error)
            os.write(writer, answer.encode())
        finally:
            os._exit(0)
    os.close(writer)
    waiting = select.poll()  # unlike select.select it takes descriptors of any number
    waiting.register(reader, select.POLLIN)
    ready = waiting.poll(30_000)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode() if ready else "it hangs"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer


@forks
def test_children_and_grandchildren_forked_after_use_work(s3_server: SimpleNamespace) -> None:
    storage = s3_server.storage("forked")
    storage.put("k", [b"1"])

    def child() -> object:
        storage.publish([("c1", [b"2"]), ("c2", [b"3"])])
        stamp = storage.put("k", [b"4"], "create-only")
        return data_of(storage, "k"), stamp, in_a_fork(lambda: data_of(storage, "c1"))

    assert in_a_fork(child) == repr((b"1", None, repr(b"2")))
    assert data_of(storage, "c2") == b"3"


@forks
def test_a_child_that_cannot_have_a_library_of_its_own_gets_an_error_and_does_not_hang(
    s3_server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = s3_server.storage("forked")
    storage.put("k", [b"1"])

    def refuse(path: str) -> None:
        raise OSError("no memory for it")

    monkeypatch.setattr("flowstone.filesystems.object_fork._copy_of", refuse)
    for _ in range(2):
        answer = in_a_fork(lambda: storage.get("k"))
        assert "spawn" in answer
        assert "no memory for it" in answer
    assert data_of(storage, "k") == b"1", "the parent goes on"


@forks
def test_a_child_takes_the_library_from_a_file_where_it_cannot_from_memory(
    s3_server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = s3_server.storage("forked")
    storage.put("k", [b"1"])
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert in_a_fork(lambda: data_of(storage, "k")) == repr(b"1")


@forks
def test_a_child_forked_before_use_works(s3_server: SimpleNamespace) -> None:
    code = """
import os, sys
from flowstone.filesystems.objects import ObjectStorage
storage = ObjectStorage("s3://flowstone/forked-early", **eval(sys.argv[1]))
if os.fork() == 0:
    storage.put("k", [b"from the child"])
    os._exit(0)
assert os.wait()[1] == 0
assert bytes(storage.get("k").data) == b"from the child"
"""
    command = [sys.executable, "-c", code, repr(s3_server.options)]
    assert subprocess.run(command, timeout=60).returncode == 0


def test_a_group_is_published_even_while_the_interpreter_exits(s3_server: SimpleNamespace) -> None:
    code = """
import atexit, sys
from flowstone.filesystems.objects import ObjectStorage
storage = ObjectStorage("s3://flowstone/at-exit", **eval(sys.argv[1]))
atexit.register(lambda: storage.publish([("a", [b"1"]), ("b", [b"2"])]))
"""
    done = subprocess.run([sys.executable, "-c", code, repr(s3_server.options)], timeout=60, capture_output=True)
    assert done.stderr == b""
    storage = s3_server.storage("at-exit")
    assert (data_of(storage, "a"), data_of(storage, "b")) == (b"1", b"2")


def test_nothing_heavy_is_imported_before_the_first_request() -> None:
    pytest.importorskip("obstore")
    code = """
import sys
from flowstone.filesystems.objects import ObjectStorage
storage = ObjectStorage("s3://bucket/prefix", region="x")
storage.natural_lock_manager()
repr(storage), storage.identity
print([name for name in ("obstore", "fsspec", "concurrent.futures", "asyncio") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_without_obstore_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowstone.filesystems.object_address.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"flowstone\[cloud\]"):
        ObjectStorage("s3://bucket/prefix")


def test_paths_can_be_read_and_written_by_their_familiar_names(lab: Place) -> None:
    storage = lab()
    storage.write_path("a/b", b"content")
    assert storage.read_path("a/b") == b"content"
    with pytest.raises(StoreError, match="nothing at 'x'"):
        storage.read_path("x")


def test_a_listing_comes_page_by_page(lab: Place) -> None:
    storage = lab()
    for number in range(2500):
        storage.put(f"k{number:04}", [b"x"])
    storage.client.requests.clear()
    entries: Iterator[object] = storage.scan()
    next(entries)
    assert len(storage.client.requests) == 2, "the listing and its first page"
    assert sum(1 for _ in entries) == 2499
