"""Deciding which records of an archive may come in, and making them such as the store can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flowstone.housekeeping.archive import Packed
from flowstone.housekeeping.entry import OURS
from flowstone.housekeeping.judging import find_flaw, is_record, judge, signer_of
from flowstone.housekeeping.resigning import Bytes, Halves, cut, is_joint, sign_again
from flowstone.housekeeping.shelf import Shelf
from flowstone.housekeeping.snapshots import BytesSnapshot
from flowstone.records import PREFIX_SIZE, Head
from flowstone.signing import SigningKey


class Refused(Exception):
    """A record does not come in; the text says why."""


class Sound(NamedTuple):
    """A verified record as the store will keep it: its parts, and its authentic head."""

    parts: tuple[Bytes, Bytes]
    head: Head


class Inspector:
    """Verifies records by the store's keyring and by `keys`, or by plain digest if the archive is to be trusted."""

    def __init__(self, shelf: Shelf, keys: Iterable[SigningKey], *, trust: bool) -> None:
        self.shelf = shelf
        self.ring = shelf.store.keyring
        self.known = {**{key.id: key.secret for key in keys}, **self.ring.reading}
        self.trust = trust
        self.split = shelf.payloads is not None

    def accept(self, packed: Packed) -> Sound:
        """Return a record that is sound, signed so that the store can read it. Raises Refused."""
        prefix = packed.pieces[0][:PREFIX_SIZE]
        if len(prefix) < PREFIX_SIZE or not is_record(bytes(prefix)):
            raise Refused("it does not begin like a record")
        record = Halves(bytes(packed.pieces[0]), packed.pieces[1]) if packed.in_halves else cut(packed.pieces[0])
        signer = signer_of(record.head)
        if signer in self.known:
            head = self._verified(packed.key, record, self.known)
            if signer in self.ring.reading and head.split == self.split:
                return Sound((record.head, record.payload), head)
            again = sign_again(record, self.ring.writing, split=self.split)
            return Sound((again.head, again.payload), self._opened(packed.key, again, self.ring.reading))
        if not self.trust:
            raise Refused(f"it is signed with the key {signer.hex()}, which is not ours; give that key, or trust it")
        if not packed.is_intact():
            raise Refused("it is not what the list of the archive says")
        again = sign_again(record, self.ring.writing, split=self.split)
        return Sound((again.head, again.payload), self._verified(packed.key, again, self.ring.reading))

    def _verified(self, key: str, record: Halves, secrets: Mapping[bytes, bytes]) -> Head:
        """Authenticate a record, head and payload."""
        head = self._opened(key, record, secrets)
        flaw = find_flaw(head, BytesSnapshot(record.payload), 0)
        if flaw:
            raise Refused(flaw)
        return head

    def _opened(self, key: str, record: Halves, secrets: Mapping[bytes, bytes]) -> Head:
        data = record.head + record.payload if is_joint(record.head) else record.head
        verdict = judge(data, None, key, secrets, self.shelf.now)
        if verdict.state not in OURS or verdict.head is None:
            raise Refused(verdict.detail)
        return verdict.head
