"""Clearing an object store of what dead writers left and of bytes that no pointer leads to any more."""

from __future__ import annotations

from flowstone.filesystems.base import SweepReport
from flowstone.filesystems.object_client import ObjectClient, Version
from flowstone.filesystems.object_groups import ABORTED, COMMITTED, Groups
from flowstone.filesystems.object_pointer import GROUPS, POINTER_SIZE, Pointer
from flowstone.filesystems.object_probe import PROBES, server_time
from flowstone.locking.objects import LOCKS


class _Count:
    """What a sweep has done so far."""

    __slots__ = ("bytes", "finished", "kept", "removed")

    def __init__(self) -> None:
        self.removed = self.bytes = self.kept = self.finished = 0

    def remove(self, client: ObjectClient, version: Version) -> None:
        client.delete(version.path)
        self.removed += 1
        self.bytes += version.size


def sweep(client: ObjectClient, groups: Groups, older_than: float) -> SweepReport:
    """Finish what is unfinished and remove what is left over and older than `older_than` seconds."""
    before = server_time(client) - older_than
    count = _Count()
    for folder in (PROBES, LOCKS):
        for version in client.list(folder):
            if version.modified <= before:
                count.remove(client, version)
            else:
                count.kept += 1
    for group, objects in _groups(client).items():
        if all(version.modified <= before for version in objects.values()):
            _sweep_group(client, groups, group, objects, count)
        else:
            count.kept += len(objects)
    return SweepReport(count.removed, count.bytes, count.kept, count.finished)


def _groups(client: ObjectClient) -> dict[str, dict[str, Version]]:
    """Return what each group has left: its objects by name."""
    left: dict[str, dict[str, Version]] = {}
    for version in client.list(GROUPS):
        group, _, name = version.path.removeprefix(f"{GROUPS}/").partition("/")
        left.setdefault(group, {})[name] = version
    return left


def _sweep_group(client: ObjectClient, groups: Groups, group: str, objects: dict[str, Version], count: _Count) -> None:
    """Settle the group's pointers, then remove its objects but for those a pointer still leads to."""
    listing = client.get(objects["members"].path) if "members" in objects else None
    keys = bytes(listing.data).decode().split("\n") if listing is not None else []  # without a list: no pointer yet
    everything = {version.path for version in objects.values()}
    needed: set[str] = set()
    for key in keys:
        needed |= _needed(client, groups, group, key, everything, count)
    if needed:
        needed.add(f"{GROUPS}/{group}/members")
    for _, version in sorted(objects.items(), key=lambda item: item[0] == "verdict"):  # the verdict last
        if version.path not in needed:
            count.remove(client, version)


def _needed(
    client: ObjectClient, groups: Groups, group: str, key: str, everything: set[str], count: _Count
) -> set[str]:
    """Settle the group's pointer at `key`, if there is one; return the paths that what is there then leads to."""
    for _ in range(3):
        there = client.head(key)
        if there is None or there.size != POINTER_SIZE:
            return set()
        found = client.get(key)
        pointer = None if found is None else Pointer.decode(found.data)
        if found is None or pointer is None:
            return set()
        if not pointer.pending or pointer.group != group:
            return everything & {target.path for target in (pointer.new, pointer.old) if target is not None}
        verdict = groups.decide(group, ABORTED)
        groups.settle(found.version, pointer.new if verdict == COMMITTED else pointer.old)
        count.finished += 1
    return everything  # it could not be settled: leave it all to the next sweep
