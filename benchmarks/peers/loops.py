"""Two plain loops in two processes, each over its half of the jobs: what the machine does if
nothing is handed out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from benchmarks.peers import Sample, main
from benchmarks.works import COMMON, WORKERS


def loop(work: str, jobs: int, connection: Connection) -> None:
    """Wait for the word, then do so many jobs and say how many they were."""
    jobs_of, handle = COMMON[work].jobs, COMMON[work].handle
    connection.send("ready")
    connection.recv()
    done = 0
    for job in jobs_of(jobs):
        handle(job)
        done += 1
    connection.send(done)


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:  # noqa: ARG001
    """Add up what the loops counted."""
    context = get_context("fork")
    ends = []
    for number in range(WORKERS):
        ours, theirs = context.Pipe()
        share = (jobs + number) // WORKERS
        context.Process(target=loop, args=(work, share, theirs), daemon=True).start()
        ends.append(ours)
    for end in ends:
        end.recv()
    began = time.perf_counter()
    for end in ends:
        end.send("go")
    done = sum(end.recv() for end in ends)
    return {"jobs": done, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(measure)
