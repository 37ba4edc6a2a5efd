"""Which workers are replaced before anything has happened to them: after a number of jobs, or above
an amount of memory. One that is exhausted (``taskmaster.runtime.exhaustion``) says so itself.

A worker is replaced between two jobs: what it has not started goes back, what runs ends, then it
tears down and ends. Nothing is lost or charged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from taskmaster.slave.pool.worker_process import WorkerProcess
from taskmaster.units import show_bytes, show_count

__all__ = ["Retirement", "own_memory"]

UNLIMITED_JOBS = 2**62
MEMORY_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def own_memory(pid: int) -> int:
    """Return the bytes of memory that a process shares with no file; 0 if it has ended."""
    with suppress(OSError, ValueError, IndexError):
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * MEMORY_PAGE_BYTES
    return 0


class Retirement:
    """The rules by which workers are replaced.

    Args:
        jobs: Most jobs that one worker runs, None for any number.
        memory: Bytes that a worker may take between two jobs, None for any amount.
        measure: Returns the bytes that a process takes.
    """

    def __init__(self, jobs: int | None, memory: int | None, measure: Callable[[int], int] = own_memory) -> None:
        self._jobs = jobs
        self._memory = memory
        self._measure = measure

    def allowance(self, worker: WorkerProcess) -> int:
        """Return how many more jobs the worker may be given, beside those that it holds."""
        if self._jobs is None:
            return UNLIMITED_JOBS
        return self._jobs - worker.ran - sum(held.keep for held in worker.held if held is not None)

    def worn_out(self, worker: WorkerProcess) -> str:
        """Return why a worker that has ended a batch is replaced, "" if it is not."""
        if self._jobs is not None and worker.ran >= self._jobs:
            return f"it has run {show_count(worker.ran, 'job')} (--jobs-per-worker)"
        return ""

    def too_large(self, workers: Iterable[WorkerProcess]) -> list[tuple[WorkerProcess, str]]:
        """Return the workers that take too much memory, each with the reason why it is replaced.

        One that has run nothing yet is not among them: its replacement would be as large.
        """
        if self._memory is None:
            return []
        found = []
        for worker in workers:
            if worker.retiring or not (worker.ran or worker.has_begun):
                continue
            size = self._measure(worker.pid)
            if size > self._memory:
                found.append((worker, f"it takes {show_bytes(size)} (--memory-per-worker={show_bytes(self._memory)})"))
        return found
