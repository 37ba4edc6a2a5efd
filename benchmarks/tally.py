"""Counts jobs across processes, for peers that are asked not to send results back.

A worker has a number in a file of its own, mapped into memory, so that counting costs it less than
a microsecond; the other side adds them up.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers import Sample

__all__ = ["counted", "measure_counted", "open_tally"]

TALLY = "BENCHMARK_TALLY"
"""The environment variable that names the directory with the files."""

_own: list[memoryview] = []  # this process's number


def open_tally() -> None:
    """Once in each worker process, before its first job."""
    with (Path(os.environ[TALLY]) / str(os.getpid())).open("w+b") as file:
        file.write(bytes(8))
        file.flush()
        _own[:] = [memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")]


def counted(handle: Callable[[object], None]) -> Callable[[object], None]:
    """The callback, with each call counted."""

    def count(job: object) -> None:
        handle(job)
        _own[0][0] += 1

    count.__name__ = count.__qualname__ = handle.__name__
    return count


def total() -> int:
    """How many jobs all processes have counted."""
    return sum(int.from_bytes(place.read_bytes(), "little") for place in Path(os.environ[TALLY]).iterdir())


def measure_counted(
    command: Sequence[str], give: Callable[[str, int], None], work: str, jobs: int, warm: int
) -> Sample:
    """Start workers, give them some jobs to warm up, then give them the jobs and wait until all are
    counted.

    Args:
        command: the arguments of Python that start them.
        give: gives jobs of a work to them.
        work: which one.
        jobs: how many.
        warm: how many before.
    """
    directory, log = Path("tally"), Path("said")
    directory.mkdir()
    os.environ[TALLY] = str(directory.resolve())
    with log.open("wb") as said:
        workers = subprocess.Popen([sys.executable, *command], stdout=said, stderr=said)

    def wait_for(number: int) -> int:
        while (now := total()) < number:
            if workers.poll() is not None:
                sys.exit(f"The workers ended with {workers.poll()}:\n{log.read_text()}")
            time.sleep(0.005)
        return now

    try:
        give("W1", warm)
        wait_for(warm)
        began = time.perf_counter()
        give(work, jobs)
        done = wait_for(warm + jobs) - warm
        return {"jobs": done, "seconds": time.perf_counter() - began}
    finally:
        workers.terminate()
        workers.wait()
