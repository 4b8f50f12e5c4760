"""The end of a program does not wait for locks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENDINGS = {
    "a wait is forgotten": """
        forgotten = manager.acquiring("k", "b", None, None); next(forgotten)
        watching = manager.watching("k", None); next(watching)
        circle = [forgotten, watching]; circle.append(circle)
    """,
    "a coroutine waits on a loop that was closed": """
        import asyncio
        loop = asyncio.new_event_loop()
        task = loop.create_task(manager.aacquire_lock("k", "b"))
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        loop.close()
    """,
    "a daemon thread waits": """
        import threading, time
        threading.Thread(target=manager.acquire_lock, args=("k", "b"), daemon=True).start()
        time.sleep(0.05)
    """,
    "a hold has a time limit": """
        manager.acquire_lock("k2", "b", hold_timeout=3600)
    """,
    "at exit a lock is given back": """
        import atexit
        atexit.register(manager.release_lock, "k", "a")
    """,
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["memory", "filesystem"])
def test_a_program_ends_at_once_and_in_silence(kind: str, ending: str, tmp_path: Path) -> None:
    make = {
        "memory": "from flowstone.locking.memory import MemoryLockManager; manager = MemoryLockManager()",
        "filesystem": "from flowstone.locking.filesystem import FileSystemLockManager; "
        f"manager = FileSystemLockManager({str(tmp_path / 'locks')!r})",
    }[kind]
    steps = [make, 'manager.acquire_lock("k", "a")', *(line.strip() for line in ENDINGS[ending].strip().splitlines())]
    program = subprocess.run([sys.executable, "-c", "\n".join(steps)], capture_output=True, text=True, timeout=30)
    assert (program.returncode, program.stderr) == (0, "")
