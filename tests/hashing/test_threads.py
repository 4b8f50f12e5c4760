"""Threads of BLAKE3, and forks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORK = """
import os, signal, sys
from flowstone.hashing import digest
data = bytes(5_000_000)
here = digest(data)
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    os._exit(0 if digest(data) == here else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_can_hash_what_its_parent_hashed_with_threads() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60, check=False).returncode == 0
