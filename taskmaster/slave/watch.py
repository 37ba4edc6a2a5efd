"""The watch over the workers: whose job takes too long, and whose for long.

Called by the pool, at every turn of the supervisor's loop and several times a second. Does not wait; the time is passed
in, and what time counts is that in which this process ran. A worker is ended here, and buried when the template tells
of its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from taskmaster.slave.clock import JobClock
from taskmaster.slave.desk import Desk
from taskmaster.slave.launcher import kill_group
from taskmaster.slave.process import UNPICKLING, Worker

__all__ = ["Watch"]

logger = logging.getLogger(__name__)

CANCEL = 5.0  # seconds that a worker has to cancel a coroutine that takes too long
LONG = 3.0  # seconds after which a job is worth taking over by a master that is restarted
LOOK = 0.25  # seconds between two looks at what runs for how long


class Watch:
    """See the module.

    Args:
        desk: told of jobs that run for long.
        now: when it begins.
        end: ends a worker and what its callback has started, by its process id.
    """

    def __init__(self, desk: Desk, now: float, end: Callable[[int], None] = kill_group) -> None:
        self._desk = desk
        self._end = end
        self._jobs = JobClock(now)

    def over_jobs(self, workers: Collection[Worker], limit: float | None, now: float) -> float:
        """End workers whose job has taken longer than ``limit``, and note what runs for long; gives the seconds until
        the next look.
        """
        running = {worker: worker.running() for worker in workers}
        self._jobs.look([job for jobs in running.values() for job in jobs], now)
        for worker, jobs in running.items():
            if not worker.together:
                for held, index in jobs:
                    if index != UNPICKLING and self._jobs.seconds((held, index)) > LONG:
                        self._desk.runs_long(held, index)
        if limit is None:
            return LOOK
        for worker, jobs in running.items():
            for held, index in jobs:
                # A coroutine is cancelled by its own worker, unless it blocks that.
                most = 1.5 * limit + CANCEL if worker.coroutines and index != UNPICKLING else limit
                if self._jobs.seconds((held, index)) > most and worker.timed_out is None:
                    worker.timed_out = held, index
                    what = "unpickling a batch has taken" if index == UNPICKLING else "a job has run for"
                    logger.warning("%s more than %g s (--job-timeout): worker %d is ended", what, most, worker.pid)
                    self._end(worker.pid)
        return min(LOOK, limit / 4)
