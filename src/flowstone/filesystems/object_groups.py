"""How several objects become visible in one step, in a store that writes one object at a time.

An object store has no transactions, but it has writes that succeed only if the object there is the one expected. Upon
those stands this protocol, a two-phase commit without a coordinator whom anybody would have to wait for:

1. *stage*: the new bytes go to `.flowstone/groups/<group>/new-<n>`, the list of keys to `members`. Nobody looks there.
2. *prepare*: each key's object is replaced, if nobody changed it meanwhile, by a small *pointer* which names the group,
   the staged object, and what was there before (copied aside first to `old-<n>`).
3. *decide*: `.flowstone/groups/<group>/verdict` is created, never replaced, and says "committed". This one write is the
   commit. Whoever wants a group out of the way, because its writer seems dead, creates the same object with "aborted";
   one of them wins, and the loser abides by it.
4. *settle*: each pointer is replaced, if it is still there, by the bytes it stands for. What was staged is removed; an
   aborted verdict is kept for a day, so that a writer who slept through it can still read it.

A reader who meets a pointer asks for the verdict: "committed" means the new bytes, "aborted" or no verdict the old
ones. It never waits. "No verdict" counts only if the pointer is still there afterwards, for verdicts of settled groups
are removed. A group met without a verdict for `patience` seconds is aborted by whoever meets it: a dead writer hides
nothing and blocks nobody. Time is measured by each watcher from its own first sight, so clocks need not agree.

A blob above `PLAIN_MOST` is not sent twice: its key keeps a pointer ("settled") to the staged object. A single record
never takes part in any of this and costs one request. A single write or delete of a key while a group with that key is
on its way counts as later than the group.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from flowstone.exceptions import StoreError
from flowstone.filesystems.base import Buffer
from flowstone.filesystems.object_client import ObjectClient, Version
from flowstone.filesystems.object_pointer import GROUPS, POINTER_SIZE, Pointer, Target, nothing
from flowstone.ids import new_id

T = TypeVar("T")

COMMITTED: Final = "committed"
ABORTED: Final = "aborted"

_WORKERS: Final = 8
_ATTEMPTS: Final = 4
_PREPARE_ROUNDS: Final = 60
_WRITER_PATIENCE: Final = (0.07, 0.2)  # of a reader's: a writer who is in another's way costs it only a new attempt
_SETTLE_AFTER: Final = 5.0  # seconds; until then a group's own writer is probably about to do it
_REMEMBERED: Final = 4096


class Moved(Exception):
    """The object at a key was replaced while we looked: look again."""


class _Member:
    """One key of a group on its way."""

    __slots__ = ("aside", "done", "key", "new", "old", "parts", "placed")

    def __init__(self, group: str, number: int, key: str, parts: Sequence[Buffer]) -> None:
        self.key = key
        self.parts = parts
        self.new = Target(f"{GROUPS}/{group}/new-{number}", sum(memoryview(part).nbytes for part in parts))
        self.aside = f"{GROUPS}/{group}/old-{number}"
        self.old: Target | None = None
        self.placed: Version | None = None
        self.done = False

    def pointer(self, group: str, old: Target | None) -> bytes:
        return Pointer(group, pending=True, new=self.new, old=old).encode()

    def unneeded(self, verdict: str) -> list[str]:
        """Return where the bytes are that nobody is led to any more, now that the verdict is given."""
        kept, dropped = (self.new, self.old) if verdict == COMMITTED else (self.old, self.new)
        paths = [] if dropped is None else [dropped.path]
        if kept is not None and not kept.stays and self.done:  # not done: our pointer may be there nevertheless
            paths.append(kept.path)
        return paths


class Groups:
    """Publishes groups and reads what they leave; one for each storage object. Safe from any thread."""

    def __init__(
        self,
        client: ObjectClient,
        *,
        patience: float = 30.0,
        workers: int = _WORKERS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._patience = patience
        self._workers = workers
        self._monotonic = monotonic
        self._sleep = sleep
        self._verdicts: dict[str, str] = {}
        self._first_seen: dict[str, float] = {}
        self._may_settle = True

    # --- writing

    def publish(self, blobs: Mapping[str, Sequence[Buffer]]) -> None:
        """Make all blobs visible in one step; if it raises StoreError, none is visible unless the message says so."""
        for _ in range(_ATTEMPTS):
            group = new_id()
            members = [_Member(group, number, key, blobs[key]) for number, key in enumerate(sorted(blobs))]
            self._stage(group, members)
            verdict = self._commit(group, members)
            self._finish(group, members, verdict)
            if verdict == COMMITTED:
                return
            self._sleep(random.uniform(0.1, 1.0))
        raise StoreError(f"Cannot publish {sorted(blobs)}: other writers of these keys kept setting the group aside.")

    def put_aside(self, key: str, parts: Sequence[Buffer]) -> Target:
        """Put bytes where no key is, for a blob that would be taken for a pointer if it stood at its key."""
        group = new_id()
        member = _Member(group, 0, key, parts)
        self._stage(group, [member])
        return member.new

    def _stage(self, group: str, members: Sequence[_Member]) -> None:
        names = "\n".join(member.key for member in members).encode()
        uploads = [(f"{GROUPS}/{group}/members", [names]), *((member.new.path, member.parts) for member in members)]
        try:
            self._each(lambda upload: self._client.put(*upload), uploads)
        except BaseException:
            self._quietly(lambda: self._client.delete(*(path for path, _ in uploads)))
            raise

    def _commit(self, group: str, members: Sequence[_Member]) -> str:
        """Place the pointers and ask for the verdict; on an error, see to it that the group is aborted."""
        try:
            self._each(lambda member: self._prepare(group, member), members)
            return self.decide(group, COMMITTED)
        except StoreError as error:
            try:
                verdict = self.decide(group, ABORTED)
            except StoreError:
                raise StoreError(
                    f"The store failed while it published {[member.key for member in members]}; whether they are "
                    "visible will be known when it answers again. They are visible together or not at all."
                ) from error
            if verdict == COMMITTED:  # only the answer was lost
                return verdict
            self._finish(group, members, verdict)
            raise
        except BaseException:
            self._quietly(lambda: self._finish(group, members, self.decide(group, ABORTED)))
            raise

    def _prepare(self, group: str, member: _Member) -> None:
        """Put the group's pointer in the place of what is at the key."""
        deadline = self._monotonic() + random.uniform(*_WRITER_PATIENCE) * self._patience
        for _ in range(_PREPARE_ROUNDS):
            member.old = None
            won, there = self._client.create(member.key, [member.pointer(group, None)])  # most keys are new
            if won:
                member.placed = there
                return
            if there is not None and self._replace(group, member, there, deadline):
                return
        raise StoreError(f"Cannot publish {member.key!r}: it changes faster than it can be replaced.")

    def _replace(self, group: str, member: _Member, there: Version, deadline: float) -> bool:
        """Put the group's pointer in the place of `there`; False if that is gone, or is another group's pointer."""
        pointer = None
        if there.size == POINTER_SIZE:
            found = self._client.get(member.key)
            if found is None:
                return False
            there, pointer = found.version, Pointer.decode(found.data)
        if pointer is None:
            self._client.copy(member.key, member.aside)  # a copy of `there`, or else placing the pointer fails
            member.old = Target(member.aside, there.size)
        elif not pointer.pending:
            member.old = pointer.new
        elif pointer.group == group:  # ours after all: only the answer to our request was lost
            member.placed, member.old = there, pointer.old
            return True
        else:
            self._make_way(there, pointer, deadline)
            return False
        member.placed = self._client.swap(member.key, [member.pointer(group, member.old)], there)
        return member.placed is not None

    def _make_way(self, there: Version, pointer: Pointer, deadline: float) -> None:
        """Wait a little for another group's verdict, abort the group if there is none, and settle its pointer."""
        verdict = self._verdict(pointer.group)
        if verdict is None:
            if self._monotonic() < deadline:
                self._sleep(random.uniform(0.05, 0.3))
                return
            verdict = self.decide(pointer.group, ABORTED)
        self.settle(there, pointer.new if verdict == COMMITTED else pointer.old)

    def decide(self, group: str, wanted: str) -> str:
        """Give the group its verdict unless it has one; return the one it has."""
        while True:
            won, _ = self._client.create(f"{GROUPS}/{group}/verdict", [wanted.encode()])
            verdict = self._remember(group, wanted) if won else self._verdict(group)
            if verdict is not None:
                return verdict

    # --- cleaning up after the verdict

    def _finish(self, group: str, members: Sequence[_Member], verdict: str) -> None:
        """Settle all pointers and remove what is not needed any more; what fails is left to readers and the sweep."""
        self._each(lambda member: self._quietly(lambda: self._settle_member(member, verdict)), members)
        unneeded = [path for member in members for path in member.unneeded(verdict)]
        if verdict == COMMITTED and all(member.done for member in members):
            unneeded.append(f"{GROUPS}/{group}/verdict")
            if not any(member.new.stays for member in members):
                unneeded.append(f"{GROUPS}/{group}/members")
        self._quietly(lambda: self._client.delete(*unneeded))

    def _settle_member(self, member: _Member, verdict: str) -> None:
        if member.placed is None:
            return
        if verdict == COMMITTED and not member.new.stays:
            self.settle(member.placed, member.new, member.parts)
        else:
            self.settle(member.placed, member.new if verdict == COMMITTED else member.old)
        member.done = True

    def settle(self, there: Version, target: Target | None, parts: Sequence[Buffer] | None = None) -> None:
        """Replace the pointer `there` by what it stands for, unless it has been replaced already."""
        self._client.swap(there.path, self._content(target) if parts is None else parts, there)

    def _content(self, target: Target | None) -> Sequence[Buffer]:
        if target is not None and target.stays:
            return [Pointer("", pending=False, new=target).encode()]
        found = None if target is None else self._client.get(target.path)
        # Bytes that are gone although their pointer was there: another settled it meanwhile, or it dangles.
        return [nothing().encode() if found is None else found.data]

    # --- reading

    def target(self, there: Version, pointer: Pointer) -> Target | None:
        """Return where the bytes are that `pointer`, found at `there`, stands for; None if it stands for nothing.

        Raises Moved when the key must be read again.
        """
        if not pointer.pending:
            return pointer.new
        watched = self._watch(pointer.group)
        verdict = self._verdict(pointer.group)
        if verdict is None:
            if not there.is_same(self._client.head(there.path)):
                raise Moved
            if watched < self._patience:
                return pointer.old
        if watched > _SETTLE_AFTER and self._may_settle:
            self._help(there, pointer)
            raise Moved
        return pointer.new if verdict == COMMITTED else pointer.old

    def _help(self, there: Version, pointer: Pointer) -> None:
        """Finish what the writer of a group has not; a reader who has not the right to write leaves it so."""
        try:
            verdict = self._verdict(pointer.group) or self.decide(pointer.group, ABORTED)
            self.settle(there, pointer.new if verdict == COMMITTED else pointer.old)
        except StoreError:
            self._may_settle = False

    def _verdict(self, group: str) -> str | None:
        verdict = self._verdicts.get(group)
        if verdict is None:
            found = self._client.get(f"{GROUPS}/{group}/verdict")
            if found is not None:
                verdict = self._remember(group, COMMITTED if bytes(found.data) == COMMITTED.encode() else ABORTED)
        return verdict

    def _remember(self, group: str, verdict: str) -> str:
        if len(self._verdicts) >= _REMEMBERED:
            self._verdicts.clear()
        self._verdicts[group] = verdict
        return verdict

    def _watch(self, group: str) -> float:
        """Return for how many seconds pointers of this group have been met here."""
        now = self._monotonic()
        if len(self._first_seen) >= _REMEMBERED:
            self._first_seen.clear()
        return now - self._first_seen.setdefault(group, now)

    # --- how work is done

    def _each(self, act: Callable[[T], object], items: Iterable[T]) -> None:
        """Do `act` with every item, some at once, and stop at the first error, which is raised."""
        left = deque(items)
        errors: list[BaseException] = []

        def work() -> None:
            while True:
                try:
                    item = left.popleft()
                except IndexError:
                    return
                try:
                    act(item)
                except BaseException as error:
                    errors.append(error)
                    left.clear()

        helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(self._workers, len(left)) - 1)]
        try:
            for helper in helpers:
                helper.start()
        except RuntimeError:  # the interpreter is on its way out and starts no more threads
            helpers = [helper for helper in helpers if helper.ident is not None]
        work()
        for helper in helpers:
            helper.join()
        if errors:
            raise errors[0]

    def _quietly(self, act: Callable[[], object]) -> None:
        """Do what is only tidiness: nothing is wrong if it fails, and the sweep will find it."""
        try:
            act()
        except StoreError:
            return
