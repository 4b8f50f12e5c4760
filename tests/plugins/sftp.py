"""A real SFTP server on 127.0.0.1, made of paramiko, which serves one folder to one user."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

USER, PASSWORD = "flowstone", "flowstone-password"


def serve(folder: Path) -> tuple[socket.socket, list[Any]]:
    """Serve `folder` to whoever connects; returns the listening socket and the connections made so far."""
    import paramiko

    class Door(paramiko.ServerInterface):
        def check_auth_password(self, username: str, password: str) -> int:
            fits = (username, password) == (USER, PASSWORD)
            return paramiko.AUTH_SUCCESSFUL if fits else paramiko.AUTH_FAILED

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return paramiko.OPEN_SUCCEEDED

    class Files(paramiko.SFTPServerInterface):
        def answer(self, act: Any, *paths: str) -> Any:
            try:
                result = act(*(folder / path.lstrip("/") for path in paths))
            except OSError as error:
                return paramiko.SFTPServer.convert_errno(error.errno)
            return paramiko.SFTP_OK if result is None or isinstance(result, Path) else result

        def list_folder(self, path: str) -> Any:
            def listing(place: Path) -> list[paramiko.SFTPAttributes]:
                return [paramiko.SFTPAttributes.from_stat(each.stat(), each.name) for each in place.iterdir()]

            return self.answer(listing, path)

        def stat(self, path: str) -> Any:
            return self.answer(lambda place: paramiko.SFTPAttributes.from_stat(place.stat()), path)

        lstat = stat

        def open(self, path: str, flags: int, attr: Any) -> Any:
            def opening(place: Path) -> paramiko.SFTPHandle:
                handle = paramiko.SFTPHandle(flags)
                writes = flags & (os.O_WRONLY | os.O_RDWR)
                handle.readfile = handle.writefile = os.fdopen(os.open(place, flags, 0o644), "wb" if writes else "rb")
                return handle

            return self.answer(opening, path)

        def remove(self, path: str) -> Any:
            return self.answer(Path.unlink, path)

        def mkdir(self, path: str, attr: Any) -> Any:
            return self.answer(Path.mkdir, path)

        def posix_rename(self, oldpath: str, newpath: str) -> Any:
            return self.answer(Path.replace, oldpath, newpath)

    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[Any] = []
    host_key = paramiko.ECDSAKey.generate()

    def welcome() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            connections.append(transport)
            transport.add_server_key(host_key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            try:
                transport.start_server(server=Door())
            except (paramiko.SSHException, EOFError):
                transport.close()

    threading.Thread(target=welcome, daemon=True).start()
    return listener, connections


@pytest.fixture
def sftp_server(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """`url` and `settings` are for RemoteFileSystem, `folder` is what is served, `cut()` drops all connections."""
    for package in ("fsspec", "paramiko"):
        try:
            __import__(package)
        except ImportError:
            if os.environ.get("CI") == "true":
                pytest.fail(f"no {package} (CI=true, so it must be there)", pytrace=False)
            pytest.skip(f"no {package}: pip install {package}")
    folder = tmp_path / "served"
    folder.mkdir()
    listener, connections = serve(folder)
    settings = {"port": listener.getsockname()[1], "username": USER, "password": PASSWORD}

    def cut() -> None:
        for connection in connections:
            connection.close()

    def close() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        cut()

    yield SimpleNamespace(url="sftp://127.0.0.1/store", settings=settings, folder=folder, cut=cut, close=close)
    if listener.fileno() >= 0:
        close()
