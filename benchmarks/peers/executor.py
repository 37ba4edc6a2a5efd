"""``concurrent.futures.ProcessPoolExecutor``: ``map`` with chunks, as its documentation advises for
many jobs.

Unlike the others, ``map`` reads all jobs before it gives the first result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.peers import Sample, main
from benchmarks.works import COMMON, WORKERS, nothing

CHUNK = {"W1": 1000, "W2": 1000, "W3": 100}


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:  # noqa: ARG001
    """Count the results."""
    what = COMMON[work]
    with ProcessPoolExecutor(WORKERS) as executor:
        for _ in executor.map(nothing, range(10_000), chunksize=CHUNK[work]):
            pass
        began = time.perf_counter()
        done = sum(1 for _ in executor.map(what.handle, what.jobs(jobs), chunksize=CHUNK[work]))
        return {"jobs": done, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(measure)
