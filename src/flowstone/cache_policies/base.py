"""The contract of a cache policy, and its algebra.

A policy is a set of ingredients with options. `+` is union: associative, commutative, idempotent, with `NONE`, the
empty policy, as its identity. `INPUTS - "x"` excludes an input; in a sum exclusions intersect, so that a sum is never
weaker than its parts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from flowstone.cache_policies.plan import Call, KeyPlan, NoKey, Piece, key_of
from flowstone.exceptions import ConfigurationError, HashError
from flowstone.hashing import token
from flowstone.modes import IsolationLevel

if TYPE_CHECKING:
    from pathlib import Path

    from flowstone.cache_policies.standard import CacheKeyFnPolicy
    from flowstone.filesystems.base import Storage
    from flowstone.locking.base import LockManager

_OPTIONS = ("key_storage", "isolation_level", "lock_manager")


class CachePolicy:
    """A recipe for cache keys. Subclass it and override `compute_key` for one of your own.

    Policies are values: operators and `configure` return new ones. `key_storage` keeps the records' headers apart from
    their payloads, `isolation_level` and `lock_manager` say who may compute a key at the same time.
    """

    key_storage: Storage | Path | str | None = None
    isolation_level: IsolationLevel | None = None
    lock_manager: LockManager | None = None

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: Callable[[Any, dict[str, Any]], str | None]) -> CacheKeyFnPolicy:
        """Return a policy whose key is what `cache_key_fn(context, parameters)` says."""
        from flowstone.cache_policies.standard import CacheKeyFnPolicy  # the one knot: a constructor named on the base

        return CacheKeyFnPolicy(cache_key_fn=cache_key_fn)

    def compute_key(
        self,
        task_ctx: Any,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the key of a call, or None if it has none.

        `task_ctx` is the TaskRunContext; policies that do not look at it accept None.
        """
        return self.plan(_call_of(task_ctx, inputs, flow_parameters)).key

    def plan(self, call: Call) -> KeyPlan:
        """Return the key plan of one call.

        An ingredient that fails makes a plan without a key. Raises ConfigurationError only for a key that is not text.
        """
        try:
            return self._plan(call)
        except NoKey as verdict:
            return KeyPlan(None, [], self, str(verdict))
        except HashError as error:
            return KeyPlan(None, [], self, f"an input cannot be hashed: {error}", error)
        except ConfigurationError:
            raise
        except Exception as error:
            return KeyPlan(None, [], self, f"{self!r} raised {type(error).__name__}: {error}", error)

    def _plan(self, call: Call) -> KeyPlan:
        if self._is_users_own:
            key = self._own_key(call)
            return KeyPlan(key, [(self._own_name(), token(key))], self, verbatim=True)
        pieces: list[Piece] = []
        for ingredient in self.ingredients:
            ingredient.gather(call, pieces)
        if not pieces:
            raise NoKey(self._silence())
        return KeyPlan(key_of(pieces), pieces, self, fingerprint=call.fingerprint)

    def _silence(self) -> str:
        told = "; ".join(ingredient.silence for ingredient in self.ingredients)
        return told or "the policy is NONE"

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        """Add what this ingredient says of the call; raise NoKey to veto a key."""
        pieces.append((self._own_name(), token(self._own_key(call))))

    _is_users_own: ClassVar[bool] = False
    """Whether this is a policy that only says how to compute a key; alone, what it says is the key."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_users_own = cls.gather is CachePolicy.gather and cls.compute_key is not CachePolicy.compute_key

    def _own_name(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def _own_key(self, call: Call) -> str:
        if type(self).compute_key is CachePolicy.compute_key:
            raise ConfigurationError(f"{self._own_name()} must override compute_key to be a cache policy.")
        context = call.context()
        return checked_key(self, self.compute_key(context, dict(call.inputs), dict(call.flow_parameters or {})))

    silence: ClassVar[str] = "the policy had nothing to say"
    """Why a call has no key when this ingredient, alone, added nothing."""

    @property
    def ingredients(self) -> tuple[CachePolicy, ...]:
        """The simple policies this one is the union of."""
        return (self,)

    def configure(
        self,
        key_storage: Storage | Path | str | None = None,
        lock_manager: LockManager | None = None,
        isolation_level: IsolationLevel | str | None = None,
    ) -> CachePolicy:
        """Return the same policy with the options that are given."""
        changed = copy.copy(self)
        if key_storage is not None:
            changed.key_storage = key_storage
        if lock_manager is not None:
            changed.lock_manager = lock_manager
        if isolation_level is not None:
            changed.isolation_level = IsolationLevel.of(isolation_level)
        return changed

    def without(self, name: str) -> CachePolicy:
        """Return the policy with the input `name` left out; the same policy where inputs do not count."""
        return self

    def __sub__(self, other: str) -> CachePolicy:
        if not isinstance(other, str):
            raise TypeError(f"Subtract the name of an input, a string; got {type(other).__name__}.")
        return self.without(other)

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if not isinstance(other, CachePolicy):
            return NotImplemented
        return union((self, other))

    def identity(self) -> tuple[object, ...]:
        """What makes this ingredient itself; equal identities are the same ingredient."""
        return (type(self), *sorted((name, id(value)) for name, value in vars(self).items() if name not in _OPTIONS))

    def detail(self) -> object:
        """What two of the same ingredient may still differ in."""
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CachePolicy):
            return NotImplemented
        return self is other or (_identities(self) == _identities(other) and _options(self) == _options(other))

    def __hash__(self) -> int:
        return hash(_identities(self))

    def __repr__(self) -> str:
        return type(self).__name__


class CompoundCachePolicy(CachePolicy):
    """The union of several policies."""

    def __init__(self, policies: Iterable[CachePolicy] = ()) -> None:
        self.policies: tuple[CachePolicy, ...] = _merged(policies)

    @property
    def ingredients(self) -> tuple[CachePolicy, ...]:
        return self.policies

    def without(self, name: str) -> CachePolicy:
        return _with_options(CompoundCachePolicy(policy.without(name) for policy in self.policies), _options(self))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.policies)) or "NONE"


def checked_key(source: object, key: object) -> str:
    """Return `key` if it is text; raise NoKey for none, ConfigurationError for anything else."""
    if key is None or key == "":
        raise NoKey(f"{source!r} gave no key")
    if not isinstance(key, str):
        raise ConfigurationError(
            f"{source!r} must give a string or None for a key; it gave {key!r} ({type(key).__name__})."
        )
    return key


def union(policies: Iterable[CachePolicy]) -> CachePolicy:
    """Return the union of `policies`; raises ConfigurationError when their options contradict each other."""
    policies = tuple(policies)
    whole = CompoundCachePolicy(ingredient for policy in policies for ingredient in policy.ingredients)
    options = _agreed_options(policies)
    for policy in policies:  # the same object back where nothing was added, so that `INPUTS + NONE is INPUTS`
        if _identities(policy) == _identities(whole) and _options(policy) == options:
            return policy
    single = copy.copy(whole.policies[0]) if len(whole.policies) == 1 else whole
    return _with_options(single, options)


def _merged(policies: Iterable[CachePolicy]) -> tuple[CachePolicy, ...]:
    kept: dict[tuple[object, ...], CachePolicy] = {}
    for policy in policies:
        for ingredient in policy.ingredients:
            slot = ingredient.identity()
            kept[slot] = _merge(kept[slot], ingredient) if slot in kept else ingredient
    return tuple(kept.values())


def _merge(first: CachePolicy, second: CachePolicy) -> CachePolicy:
    merge = getattr(first, "merged_with", None)
    return first if merge is None else merge(second)


def _identities(policy: CachePolicy) -> frozenset[object]:
    return frozenset((ingredient.identity(), ingredient.detail()) for ingredient in policy.ingredients)


def _options(policy: CachePolicy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in _OPTIONS}


def _with_options(policy: CachePolicy, options: Mapping[str, object]) -> CachePolicy:
    for name, value in options.items():
        setattr(policy, name, value)
    return policy


def _agreed_options(policies: Iterable[CachePolicy]) -> dict[str, object]:
    agreed: dict[str, object] = {name: None for name in _OPTIONS}  # noqa: C420 - typed by its values
    for policy in policies:
        for name, value in _options(policy).items():
            if value is None or value == agreed[name]:
                continue
            if agreed[name] is not None:
                raise ConfigurationError(
                    f"Cannot add policies with different {name}: {agreed[name]!r} and {value!r}; "
                    f"configure one of them, or the sum, with the {name} you want."
                )
            agreed[name] = value
    return agreed


def _call_of(context: Any, inputs: Mapping[str, Any], flow_parameters: Mapping[str, Any] | None) -> Call:
    def run_id() -> str | None:
        return None if context is None else context.flow_run_id or context.task_run_id

    return Call(getattr(context, "task", None), inputs, flow_parameters or None, run_id, lambda: context)
