"""Finding out whether a server does what it is asked: some accept conditional writes and ignore the condition."""

from __future__ import annotations

from typing import Final

from flowstone.exceptions import StoreError
from flowstone.filesystems.base import INTERNAL_PREFIX
from flowstone.filesystems.object_client import ObjectClient
from flowstone.ids import new_id

PROBES: Final = f"{INTERNAL_PREFIX}/probe"


def honours_conditions(client: ObjectClient) -> bool:
    """Try the two kinds of conditional write on an object of our own; raises StoreError if the store cannot be used."""
    path = f"{PROBES}/{new_id()}"
    won, first = client.create(path, [b"first"])
    if not won or first is None:
        return False  # refuses what it should accept
    try:
        won_again, _ = client.create(path, [b"second"])
        if won_again:
            return False
        second = client.swap(path, [b"third"], first)
        return second is not None and client.swap(path, [b"fourth"], first) is None
    finally:
        try:
            client.delete(path)
        except StoreError:
            pass  # a server may have no way to delete; the sweep will try again


def server_time(client: ObjectClient) -> float:
    """Return the store's own time, in seconds since the epoch, by which the ages of its objects can be told."""
    path = f"{PROBES}/{new_id()}"
    client.put(path, [b"time"])
    there = client.head(path)
    client.delete(path)
    return 0.0 if there is None else there.modified
