"""Recipes for cache keys, and the sums one can make of them."""

from flowstone.cache_policies.base import CachePolicy, CompoundCachePolicy
from flowstone.cache_policies.plan import Call, KeyPlan, NoKey, Part
from flowstone.cache_policies.standard import (
    CODE,
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    Code,
    FlowParameters,
    Inputs,
    RunId,
    TaskSource,
)

__all__ = [
    "CODE",
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CacheKeyFnPolicy",
    "CachePolicy",
    "Call",
    "Code",
    "CompoundCachePolicy",
    "FlowParameters",
    "Inputs",
    "KeyPlan",
    "NoKey",
    "Part",
    "RunId",
    "TaskSource",
]
