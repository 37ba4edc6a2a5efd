"""Celery with Redis as its broker, set up as its guide to optimising advises for many short jobs.

Prefork workers, many messages prefetched, results ignored, acknowledged early, no events, gossip,
mingle or heartbeat. One word, a number, asks for Celery's own ``chunks`` of so many jobs. Both
sides use this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from celery import Celery
from celery.signals import worker_process_init

from benchmarks.peers import Sample, main
from benchmarks.servers import redis_url
from benchmarks.tally import counted, measure_counted, open_tally
from benchmarks.works import COMMON, WORKERS

app = Celery("benchmarks", broker=redis_url())
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=False,
    task_ignore_result=True,
    task_serializer="json",
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=100,
)
CALLS = {work: app.task(counted(what.handle), name=work) for work, what in COMMON.items()}
WORKER = (
    "worker", f"--concurrency={WORKERS}", "--pool=prefork", "--loglevel=warning", "--without-gossip",
    "--without-mingle", "--without-heartbeat",
)  # fmt: skip
SLICE = 100  # chunks that are handed over at once


@worker_process_init.connect  # type: ignore[untyped-decorator]
def begin(**_: object) -> None:
    """Called by Celery in each worker process."""
    open_tally()


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:
    """Count what the workers do."""
    size = int(words[0]) if words else 1

    def give(work: str, jobs: int) -> None:
        call, left = CALLS[work], ((job,) for job in COMMON[work].jobs(jobs))
        if size > 1:
            while some := list(islice(left, SLICE * size)):
                call.chunks(some, size).apply_async()
        else:
            with app.producer_or_acquire() as producer:
                for job in left:
                    call.apply_async(job, producer=producer)

    return measure_counted(["-m", "celery", "-A", str(__spec__.name), *WORKER], give, work, jobs, warm=10 * size)


if __name__ == "__main__":
    main(measure)
