"""What a submitted run costs: no-op tasks mapped over threads and processes, beside joblib doing the same.

CPU time of this process for threads; wall time too, since processes spend theirs elsewhere. Memory is the peak that
100,000 cached calls on two processes add to what the process holds before them.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
ROUNDS = int(os.environ.get("FLOWSTONE_BENCH_ROUNDS", "3"))


def main() -> None:
    home = tempfile.mkdtemp(prefix="flowstone-bench-")
    os.environ.update(FLOWSTONE_HOME=home, FLOWSTONE_LOGGING_LEVEL="WARNING", FLOWSTONE_HISTORY_ENABLED="false")
    print(f"{COUNT} no-op tasks, medians of {ROUNDS}; microseconds per task\n")
    print(f"{'what':44}{'CPU':>10}{'wall':>10}")
    threads()
    processes()
    memory()


def row(what: str, work: Callable[[], object], count: int = COUNT) -> None:
    rounds = []
    for _ in range(ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (statistics.median(column) * 1e6 / count for column in zip(*rounds, strict=True))
    print(f"{what:44}{cpu:10.1f}{wall:10.1f}", flush=True)


def nothing(x: int) -> int:
    return x


def threads() -> None:
    from flowstone import task
    from flowstone.task_runners import ThreadPoolTaskRunner

    no_op = task(nothing)
    with ThreadPoolTaskRunner(max_workers=2):
        row("flowstone, 2 threads", lambda: no_op.map(range(COUNT)).result())
    _joblib("joblib, 2 threads", "threading", COUNT)


def processes() -> None:
    from flowstone import task
    from flowstone.task_runners import ProcessPoolTaskRunner

    no_op = task(nothing)
    some = COUNT // 5
    with ProcessPoolTaskRunner(max_workers=2):
        no_op.map(range(4)).wait()
        row("flowstone, 2 processes", lambda: no_op.map(range(some)).result(), some)
    _joblib("joblib (loky), 2 processes, batch_size=1", "loky", some)


def _joblib(what: str, backend: str, count: int) -> None:
    try:
        from joblib import Parallel, delayed  # type: ignore[import-untyped]
    except ImportError:
        print(f"{what:44}{'joblib is not installed':>20}")
        return
    with Parallel(n_jobs=2, backend=backend, batch_size=1) as parallel:
        parallel(delayed(nothing)(x) for x in range(4))
        row(what, lambda: parallel(delayed(nothing)(x) for x in range(count)), count)


def memory() -> None:
    """Watch the memory of this process while it maps in slices, as a flow over many items would."""
    from flowstone import task
    from flowstone.cache_policies import INPUTS
    from flowstone.task_runners import ProcessPoolTaskRunner

    cached = task(cache_policy=INPUTS)(nothing)
    for x in range(1000):
        cached(x)
    total = COUNT * 10
    with ProcessPoolTaskRunner(max_workers=2):
        cached.map([x % 1000 for x in range(2000)]).wait()
        before = resident()
        began = time.perf_counter()
        futures = cached.map([x % 1000 for x in range(total)])
        peak = resident()
        for position in range(0, total, 1000):
            futures[position].wait()
            peak = max(peak, resident())
        futures.wait()
        seconds = time.perf_counter() - began
        after = resident()
    print(
        f"\n{total} cached calls on 2 processes: {seconds:.1f} s, {(peak - before) / total:.0f} bytes a call at most "
        f"(futures and states included), grown by {(after - before) / total:.0f} at the end"
    )


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
