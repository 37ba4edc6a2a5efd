"""Dask distributed: a ``LocalCluster`` of single-threaded worker processes, a future a job or a
future for some.

``client.map`` takes a list, so that jobs are given to it in slices; the next one is always given
before the results of the last are asked for. One word, a number, says how many jobs are done by one
future: Dask's best practices advise to put small ones together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from distributed import LocalCluster

from benchmarks.peers import Sample, main
from benchmarks.works import COMMON, WORKERS, nothing

SLICE = 1000  # futures that are asked for at once


def together(handle: Callable[[Any], None], jobs: Sequence[Any]) -> int:
    """Do some jobs; returns how many they were."""
    done = 0
    for job in jobs:
        handle(job)
        done += 1
    return done


def run(client: Any, handle: Callable[[Any], None], jobs: Iterable[Any], size: int) -> int:
    """Do all jobs; returns how many results there were."""
    left = iter(jobs)
    done = 0
    former: list[Any] = []
    while True:
        if size == 1:
            futures = client.map(handle, list(islice(left, SLICE)), pure=False)
        else:
            groups = [group for _ in range(SLICE) if (group := list(islice(left, size)))]
            futures = client.map(partial(together, handle), groups, pure=False)
        for result in client.gather(former):
            done += 1 if size == 1 else result
        if not futures:
            return done
        former = futures


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:
    """Count the results."""
    what = COMMON[work]
    size = int(words[0]) if words else 1
    make: Any = LocalCluster  # it has no types
    with (
        make(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster.get_client() as client,
    ):
        client.wait_for_workers(WORKERS)
        run(client, nothing, range(100 * size), size)
        began = time.perf_counter()
        done = run(client, what.handle, what.jobs(jobs), size)
        return {"jobs": done, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(measure)
