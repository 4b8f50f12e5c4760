"""Where submitted tasks run: threads, processes, and other machines."""

from __future__ import annotations

from flowstone.task_runners.base import TaskRunner
from flowstone.task_runners.threads import ThreadPoolTaskRunner

__all__ = ["TaskRunner", "ThreadPoolTaskRunner"]
