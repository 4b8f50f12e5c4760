"""For tests of code that uses flowstone: a store, a clock, what the cache did, and engines killed at every step."""

from __future__ import annotations

from flowstone.testing.clocks import ManualClock
from flowstone.testing.crashes import CrashDriver, Killed, drive_until, kill_process
from flowstone.testing.stores import caching_disabled, force_rerun, temporary_store
from flowstone.testing.watching import SeenRun, SeenRuns, assert_cached, assert_ran, watch_runs

__all__ = [
    "CrashDriver",
    "Killed",
    "ManualClock",
    "SeenRun",
    "SeenRuns",
    "assert_cached",
    "assert_ran",
    "caching_disabled",
    "drive_until",
    "force_rerun",
    "kill_process",
    "temporary_store",
    "watch_runs",
]
