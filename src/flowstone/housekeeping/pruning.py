"""Making room: which records are worth least, and removing those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from flowstone.exceptions import ConfigurationError
from flowstone.housekeeping.entry import RecordEntry, RecordState
from flowstone.housekeeping.listing import entries_of
from flowstone.housekeeping.removal import Because, Outcome, Removal, Victim, remove_one
from flowstone.housekeeping.selection import EVERYTHING, Selection, Where
from flowstone.housekeeping.shelf import Shelf

if TYPE_CHECKING:
    from flowstone.results import ResultStore


class Order(Enum):
    """What goes first when the records do not fit the budget.

    LRU: what was not used for longest. COST: what is quickest to compute again for the bytes it takes.
    """

    LRU = "lru"
    COST = "cost"

    @classmethod
    def of(cls, given: Order | str) -> Order:
        try:
            return cls(given)
        except ValueError:
            raise ConfigurationError(f"{given!r} is no order to prune by; use 'lru' or 'cost'.") from None


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune would remove, in this order, and what it looked at.

    `others` counts what lies in the store beside our own whole records, by state; a prune leaves that alone.
    """

    victims: tuple[Victim, ...]
    records: int
    bytes: int
    others: dict[RecordState, int]
    max_bytes: int | None = None

    @property
    def bytes_to_free(self) -> int:
        return sum(victim.size for victim in self.victims)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune did: what became of each victim, and of how many records and bytes that was."""

    removals: tuple[Removal, ...]
    records: int
    bytes: int
    others: dict[RecordState, int]
    max_bytes: int | None = None

    @property
    def removed(self) -> int:
        """How many records are gone, or would be, by this prune."""
        return len(self._done())

    @property
    def freed(self) -> int:
        """How many bytes these had."""
        return sum(removal.victim.size for removal in self._done())

    @property
    def seconds_lost(self) -> float:
        """How many seconds it took to compute these."""
        return sum(removal.victim.duration for removal in self._done())

    @property
    def stayed(self) -> tuple[Removal, ...]:
        """The victims that are still there, and why."""
        return tuple(removal for removal in self.removals if removal.outcome not in _DONE)

    @property
    def over_budget(self) -> int:
        """How many bytes the records are still above the budget."""
        gone = sum(removal.victim.size for removal in self.removals if removal.outcome in (*_DONE, Outcome.GONE))
        return 0 if self.max_bytes is None else max(0, self.bytes - gone - self.max_bytes)

    def _done(self) -> list[Removal]:
        return [removal for removal in self.removals if removal.outcome in _DONE]


_DONE: Final = (Outcome.REMOVED, Outcome.PLANNED)


def plan_prune(
    store: ResultStore,
    *,
    older_than: float | None = None,
    unused_for: float | None = None,
    expired: bool = False,
    max_bytes: int | None = None,
    task: str | None = None,
    where: Where = EVERYTHING,
    by: Order | str = Order.LRU,
    now: float | None = None,
) -> PrunePlan:
    """Say what `prune` with the same arguments would remove, and remove nothing."""
    order = Order.of(by)
    rules = _rules(older_than, unused_for, expired)
    if max_bytes is not None and not max_bytes >= 0:
        raise ConfigurationError(f"max_bytes must be a number of bytes, 0 or more; not {max_bytes!r}.")
    if not rules and max_bytes is None:
        if task is None and where == EVERYTHING:
            raise ConfigurationError(
                "A prune needs to know what may go: older_than, unused_for, expired, max_bytes, task or where."
            )
        rules = ((EVERYTHING, Because.CHOSEN),)
    if task is not None:
        where = Selection(task=task) & where
    return _plan(Shelf(store, now), where, rules, max_bytes, order)


def prune(
    store: ResultStore,
    *,
    older_than: float | None = None,
    unused_for: float | None = None,
    expired: bool = False,
    max_bytes: int | None = None,
    task: str | None = None,
    where: Where = EVERYTHING,
    by: Order | str = Order.LRU,
    dry_run: bool = False,
    now: float | None = None,
) -> PruneReport:
    """Remove records that are not worth their place.

    Each of `older_than` and `unused_for` (seconds) and `expired` condemns the records it fits. If what remains has
    more than `max_bytes`, more go until it fits: by `Order.LRU` or by `Order.COST`. `task` and `where` narrow all of
    that, the budget too, to a part of the records; with nothing else, they condemn that part.

    Counts and removes records that are whole and signed with one of our keys, and leaves everything else alone. Safe
    while others read and write: what is in use or was refreshed meanwhile stays (see `remove`).
    """
    plan = plan_prune(
        store,
        older_than=older_than,
        unused_for=unused_for,
        expired=expired,
        max_bytes=max_bytes,
        task=task,
        where=where,
        by=by,
        now=now,
    )
    return carry_out(store, plan, dry_run=dry_run)


def carry_out(store: ResultStore, plan: PrunePlan, *, dry_run: bool = False) -> PruneReport:
    """Remove what was planned, however long ago that was."""
    if dry_run:
        removals = tuple(Removal(victim, Outcome.PLANNED) for victim in plan.victims)
    else:
        shelf = Shelf(store)
        removals = tuple(remove_one(shelf, victim) for victim in plan.victims)
        shelf.flush()
    return PruneReport(removals, plan.records, plan.bytes, plan.others, plan.max_bytes)


def _rules(older_than: float | None, unused_for: float | None, expired: bool) -> tuple[tuple[Where, Because], ...]:
    """Return what condemns a record, and what to say then, by order of what says most."""
    rules: list[tuple[Where, Because]] = []
    if expired:
        rules.append((Selection(states={RecordState.EXPIRED}), Because.EXPIRED))
    if older_than is not None:
        rules.append((Selection(older_than=older_than), Because.AGE))
    if unused_for is not None:
        rules.append((Selection(unused_for=unused_for), Because.UNUSED))
    return tuple(rules)


def _plan(
    shelf: Shelf, where: Where, rules: tuple[tuple[Where, Because], ...], max_bytes: int | None, order: Order
) -> PrunePlan:
    condemned: list[Victim] = []
    spared: list[Victim] = []  # as victims of the budget; small, where entries with their heads would fill the memory
    others: Counter[RecordState] = Counter()
    for entry in entries_of(shelf, where):
        if not entry.ours:
            others[entry.state] += 1
            continue
        because = _why(entry, rules, shelf.now)
        if because is not None:
            condemned.append(Victim.of(entry, because))
        else:
            spared.append(Victim.of(entry, Because.BUDGET))
    kept = sum(victim.size for victim in spared)
    total = kept + sum(victim.size for victim in condemned)
    count = len(condemned) + len(spared)
    if max_bytes is not None and kept > max_bytes:
        condemned += _least_worth(spared, kept - max_bytes, order)
    return PrunePlan(tuple(condemned), count, total, dict(others), max_bytes)


def _why(entry: RecordEntry, rules: Iterable[tuple[Where, Because]], now: float) -> Because | None:
    return next((because for rule, because in rules if rule.holds(entry, now)), None)


def _least_worth(spared: list[Victim], excess: int, order: Order) -> list[Victim]:
    """Return the first in `order` that have at least `excess` bytes together."""
    chosen = []
    for victim in sorted(spared, key=_WORTH[order]):
        if excess <= 0:
            break
        chosen.append(victim)
        excess -= victim.size
    return chosen


def _by_use(victim: Victim) -> tuple[float, ...]:
    return (victim.used, victim.created)


def _by_cost(victim: Victim) -> tuple[float, ...]:
    return (victim.duration / max(victim.size, 1), victim.used, victim.created)


_WORTH: Final[dict[Order, Callable[[Victim], tuple[float, ...]]]] = {Order.LRU: _by_use, Order.COST: _by_cost}
