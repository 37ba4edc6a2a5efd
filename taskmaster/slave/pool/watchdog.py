"""The watch over the workers: whose job takes too long, who cannot be heard any more, who does not
get ready.

Called by the pool, at every turn of the supervisor's loop and several times a second. Does not
wait; the time is passed in, and what time counts is that in which this process ran. A worker is
ended here, and buried when the template tells of its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from taskmaster.runtime.child_process import kill_group
from taskmaster.slave.job_clock import JobClock
from taskmaster.slave.pool.worker_process import UNPICKLING, WorkerProcess

__all__ = ["Watchdog"]

logger = logging.getLogger(__name__)

CANCEL = 5.0  # seconds that a worker has to cancel a coroutine that takes too long
LONG = 3.0  # seconds after which a job is worth taking over by a master that is restarted
LOOK = 0.5  # seconds between two looks at what runs for how long; more often where that is limited
LOST = (1.0, 5.0)  # seconds after which a worker is ended that cannot be heard: one that runs nothing, and any other


class Watchdog:
    """See the module.

    Args:
        now: when it begins.
        end: ends a worker and what its callback has started, by its process id.
    """

    def __init__(self, now: float, end: Callable[[int], None] = kill_group) -> None:
        self._end = end
        self._jobs = JobClock(now)
        self._workers = JobClock(now)

    def over_jobs(self, workers: Collection[WorkerProcess], limit: float | None, now: float) -> float:
        """End workers whose job has taken longer than ``limit``, and note what runs for long; gives
        the seconds until the next look.
        """
        running = {worker: worker.running() for worker in workers}
        self._jobs.look([job for jobs in running.values() for job in jobs], now)
        for worker, jobs in running.items():
            if not worker.together:
                for held, index in jobs:
                    if index != UNPICKLING and self._jobs.seconds((held, index)) > LONG:
                        held.runs_long(index, worker.pid)
        if limit is None:
            return LOOK
        for worker, jobs in running.items():
            for held, index in jobs:
                # A coroutine is cancelled by its own worker, unless it blocks that.
                cancelled = worker.coroutines and index != UNPICKLING
                most = 1.5 * limit + CANCEL if cancelled else limit
                if self._jobs.seconds((held, index)) > most and worker.timed_out is None:
                    worker.timed_out = held, index
                    what = "unpickling a batch has taken" if index == UNPICKLING else "a job has run for"
                    still = ", and cancelling it had no effect" * cancelled
                    logger.warning(
                        "%s more than %g s (--job-timeout)%s; worker %d is ended", what, limit, still, worker.pid
                    )
                    self._end(worker.pid)
        return min(LOOK / 2, limit / 4)

    def over_workers(self, workers: Collection[WorkerProcess], now: float) -> None:
        """End workers that live on without their socket: nobody would ever hear what becomes of
        their jobs. Say which of the others do not get ready.
        """
        lost = [worker for worker in workers if worker.gone]
        starting = [worker for worker in workers if not (worker.ready or worker.gone or worker.unusable)]
        self._workers.look([(worker, worker.gone) for worker in (*lost, *starting)], now)
        for worker in lost:
            # One that has died is told of by the template, in a moment.
            if not worker.cut_off and self._workers.seconds((worker, True)) > LOST[bool(worker.running())]:
                worker.cut_off = True
                self._end(worker.pid)
        slow = [worker for worker in starting if self._workers.seconds((worker, False)) > worker.warned_after]
        if slow:
            logger.warning(
                "setup(), or the import of the target, has been running for %.0f s in %s",
                slow[0].warned_after,
                f"worker {slow[0].pid}" if len(slow) == 1 else f"{len(slow)} workers, such as {slow[0].pid}",
            )
        for worker in slow:
            worker.warned_after *= 4  # rarer and rarer
