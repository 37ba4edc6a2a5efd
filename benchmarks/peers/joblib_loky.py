"""joblib with its own processes (loky): batches of the size that it chooses itself, results as they
come.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from joblib import Parallel, delayed

from benchmarks.peers import Sample, main
from benchmarks.works import COMMON, WORKERS, nothing


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:  # noqa: ARG001
    """Count the results."""
    what = COMMON[work]
    with Parallel(n_jobs=WORKERS, batch_size="auto", return_as="generator_unordered") as parallel:
        for _ in parallel(delayed(nothing)(job) for job in range(10_000)):
            pass
        began = time.perf_counter()
        done = sum(1 for _ in parallel(delayed(what.handle)(job) for job in what.jobs(jobs)))
        return {"jobs": done, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(measure)
