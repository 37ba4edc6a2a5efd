"""Huey with Redis: worker processes that wait for the queue in Redis itself, results off, nothing
periodic.

Both sides use this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from huey import RedisHuey

from benchmarks.peers import Sample, main
from benchmarks.servers import redis_url
from benchmarks.tally import counted, measure_counted, open_tally
from benchmarks.works import COMMON, WORKERS

huey = RedisHuey("benchmarks", results=False, blocking=True, url=redis_url())
CALLS = {work: huey.task(name=work)(counted(what.handle)) for work, what in COMMON.items()}
PROGRAM = "huey.bin.huey_consumer"
CONSUMER = (f"--workers={WORKERS}", "--worker-type=process", "--no-periodic", "--quiet")


@huey.on_startup()  # type: ignore[untyped-decorator]
def begin() -> None:
    """Called by Huey in each worker process."""
    open_tally()


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:  # noqa: ARG001
    """Count what the workers do."""

    def give(work: str, jobs: int) -> None:
        call = CALLS[work]
        for job in COMMON[work].jobs(jobs):
            call(job)

    return measure_counted(["-m", PROGRAM, f"{__spec__.name}.huey", *CONSUMER], give, work, jobs, warm=10)


if __name__ == "__main__":
    main(measure)
