"""``multiprocessing.Pool``: results as they come, jobs in chunks as its documentation advises for
many small ones.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pool

from benchmarks.peers import Sample, main
from benchmarks.works import COMMON, WORKERS, nothing

CHUNK = {"W1": 1000, "W2": 1000, "W3": 100}


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:  # noqa: ARG001
    """Count the results."""
    if work == "W6":
        return start_to_exit(jobs)
    what = COMMON[work]
    with Pool(WORKERS) as pool:
        for _ in pool.imap_unordered(nothing, range(10_000), CHUNK[work]):
            pass
        began = time.perf_counter()
        done = sum(1 for _ in pool.imap_unordered(what.handle, what.jobs(jobs), CHUNK[work]))
        return {"jobs": done, "seconds": time.perf_counter() - began}


def start_to_exit(jobs: int) -> Sample:
    """Time a script."""
    began = time.perf_counter()
    script = subprocess.run(
        [sys.executable, "-m", "benchmarks.one_pool", str(jobs)], check=True, stdout=subprocess.PIPE, text=True
    )
    return {"seconds": time.perf_counter() - began, "jobs": int(script.stdout)}


if __name__ == "__main__":
    main(measure)
