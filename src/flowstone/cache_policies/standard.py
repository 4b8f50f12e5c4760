"""The policies that come with flowstone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flowstone.cache_policies.base import CachePolicy, CompoundCachePolicy, checked_key
from flowstone.cache_policies.plan import Call, KeyPlan, NoKey, Piece
from flowstone.exceptions import ConfigurationError
from flowstone.hashing import token

if TYPE_CHECKING:
    from flowstone.fingerprints import Boundary

CacheKeyFn = Callable[[Any, dict[str, Any]], "str | None"]


class Inputs(CachePolicy):
    """The arguments of the call, by content; `exclude` names the ones that do not count."""

    silence: ClassVar[str] = "the task has no inputs"

    def __init__(self, exclude: Iterable[str] = ()) -> None:
        self.exclude: tuple[str, ...] = tuple(sorted(set(exclude)))

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        inputs = call.inputs
        if not self.exclude:
            for name, value in inputs.items():
                pieces.append(("inputs:" + name, token(value, f"inputs[{name!r}]")))
            return
        pieces.append(("inputs", b""))  # a call whose inputs are all excluded is still a call
        for name, value in _counted(call, self.exclude):
            pieces.append(("inputs:" + name, token(value, f"inputs[{name!r}]")))

    def without(self, name: str) -> CachePolicy:
        if name in self.exclude:
            return self
        fewer = Inputs((*self.exclude, name))
        fewer.key_storage, fewer.isolation_level, fewer.lock_manager = (
            self.key_storage,
            self.isolation_level,
            self.lock_manager,
        )
        return fewer

    def merged_with(self, other: CachePolicy) -> CachePolicy:
        """Return the inputs that either counts: what a sum leaves out, both its parts left out."""
        return Inputs(set(self.exclude) & set(getattr(other, "exclude", ())))

    def identity(self) -> tuple[object, ...]:
        return (Inputs,)

    def detail(self) -> object:
        return self.exclude

    def misspelt(self, parameters: Iterable[str]) -> Mapping[str, str]:
        """Return the excluded names that no parameter has, each with the parameter that was probably meant."""
        from difflib import get_close_matches  # only where something is excluded

        known = list(parameters)
        near = {name: get_close_matches(name, known, 1, 0.6) for name in self.exclude if name not in known}
        return {name: found[0] for name, found in near.items() if found}

    def __repr__(self) -> str:
        return "INPUTS" + "".join(f" - {name!r}" for name in self.exclude)


def _counted(call: Call, exclude: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    extra = call.task.keyword_parameter if call.task is not None else None
    for name, value in call.inputs.items():
        if name in exclude:
            continue
        if name == extra and isinstance(value, Mapping):
            value = {key: item for key, item in value.items() if key not in exclude}
        yield name, value


class TaskSource(CachePolicy):
    """The task's own code, normalised: comments, formatting and the options of `@task` do not count."""

    silence: ClassVar[str] = "there is no task whose source could count"

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        if call.task is not None:
            found = call.task.source_fingerprint()
            call.fingerprint = call.fingerprint or found
            pieces.append(("source", found.digest))

    def __repr__(self) -> str:
        return "TASK_SOURCE"


class Code(CachePolicy):
    """The task's code and all code of the user's own that it can reach; installed packages count by version.

    `include` and `exclude` name modules that are, or are not, the user's own.
    """

    silence: ClassVar[str] = "there is no task whose code could count"

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self.include = tuple(sorted(set(include)))
        self.exclude = tuple(sorted(set(exclude)))
        self._boundary: Boundary | None = None

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        if call.task is not None:
            call.fingerprint = found = call.task.code_fingerprint(self.boundary())
            pieces.append(("code", found.digest))

    def boundary(self) -> Boundary | None:
        """Return the boundary between own and foreign code, or None for the usual one."""
        if self._boundary is None and (self.include or self.exclude):
            from flowstone.fingerprints import Boundary  # not on the path of a call that does not use CODE

            self._boundary = Boundary(include=self.include, exclude=self.exclude)
        return self._boundary

    def identity(self) -> tuple[object, ...]:
        return (Code, self.include, self.exclude)

    def __repr__(self) -> str:
        return "CODE"


class FlowParameters(CachePolicy):
    """The parameters of the nearest flow run; nothing outside of a flow."""

    silence: ClassVar[str] = "there is no flow run with parameters"

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        for name, value in (call.flow_parameters or {}).items():
            pieces.append(("flow:" + name, token(value, f"flow parameter {name}")))

    def __repr__(self) -> str:
        return "FLOW_PARAMETERS"


class RunId(CachePolicy):
    """The id of the flow run, or of the task run where there is no flow; alone it is the key itself."""

    silence: ClassVar[str] = "there is no run whose id could count"

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        run_id = call.run_id()
        if run_id is not None:
            pieces.append(("run", run_id.encode()))

    def _plan(self, call: Call) -> KeyPlan:
        run_id = call.run_id()
        if run_id is None:
            raise NoKey(self.silence)
        return KeyPlan(run_id, [("run", run_id.encode())], self)

    def __repr__(self) -> str:
        return "RUN_ID"


class CacheKeyFnPolicy(CachePolicy):
    """What a function of the user's says: `cache_key_fn(context, parameters)`; alone it is the key itself.

    None or an empty string means that this call is not cached, also in a sum.
    """

    def __init__(self, cache_key_fn: CacheKeyFn) -> None:
        if not callable(cache_key_fn):
            raise ConfigurationError(f"cache_key_fn must be a function of (context, parameters); got {cache_key_fn!r}.")
        self.cache_key_fn = cache_key_fn

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        return self.cache_key_fn(task_ctx, inputs)

    def gather(self, call: Call, pieces: list[Piece]) -> None:
        pieces.append(("key_fn", token(self._key(call))))

    def _plan(self, call: Call) -> KeyPlan:
        key = self._key(call)
        return KeyPlan(key, [("key_fn", token(key))], self, verbatim=True)

    def _key(self, call: Call) -> str:
        return checked_key(self, self.cache_key_fn(call.context(), dict(call.inputs)))

    def identity(self) -> tuple[object, ...]:
        return (CacheKeyFnPolicy, self.cache_key_fn)

    def __repr__(self) -> str:
        return f"CacheKeyFnPolicy({_name(self.cache_key_fn)})"


def _name(fn: object) -> str:
    return getattr(fn, "__qualname__", repr(fn))


INPUTS: Final[CachePolicy] = Inputs()
TASK_SOURCE: Final[CachePolicy] = TaskSource()
CODE: Final[CachePolicy] = Code()
FLOW_PARAMETERS: Final[CachePolicy] = FlowParameters()
RUN_ID: Final[CachePolicy] = RunId()
NONE: Final[CachePolicy] = CompoundCachePolicy()
NO_CACHE: Final[CachePolicy] = NONE
DEFAULT: Final[CachePolicy] = INPUTS + TASK_SOURCE + RUN_ID
