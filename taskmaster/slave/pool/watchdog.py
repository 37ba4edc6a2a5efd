"""The watchdog: ends workers whose job takes too long, that can no longer be heard, or that do not
end; names those that do not get ready.

It does not wait: the time is passed in, and only time in which this process ran counts. A worker is
killed here, and accounted for when the fork server tells of its end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from taskmaster.model import LONG_JOB_SECONDS
from taskmaster.runtime.child_process import kill_group
from taskmaster.runtime.log import clean_logger
from taskmaster.slave.ipc.job_clock import JobClock
from taskmaster.slave.pool.worker_process import UNPICKLING, WorkerProcess

__all__ = ["Watchdog"]

logger = clean_logger(__name__)

CANCEL_SECONDS = 5.0  # for a worker to cancel a coroutine that takes too long
WATCHDOG_CHECK_SECONDS = 0.5  # between two checks of what runs for how long, at most
IDLE_SILENT_SECONDS, BUSY_SILENT_SECONDS = 1.0, 5.0  # after which a worker that cannot be heard is killed
ENDING_SECONDS = 60.0  # for the teardown of a worker that is replaced
WITHOUT_SOCKET = (
    "ended because its socket to the slave was closed or written to, as by a callback that closes files which are not "
    "its own"
)
STILL_ENDING = f"killed because it had not ended {ENDING_SECONDS:.0f} s after it was told to"


class Watchdog:
    """Ends workers that take too long or do not answer.

    Args:
        now: The current time, at which the clock starts.
        end: Kills a worker and what its callback has started, by its process id.
    """

    def __init__(self, now: float, end: Callable[[int], None] = kill_group) -> None:
        self._end = end
        self._jobs = JobClock(now)
        self._workers = JobClock(now)

    def over_jobs(self, workers: Collection[WorkerProcess], limit: float | None, now: float) -> float:
        """Kill workers whose job has taken longer than ``limit``, and note what runs for long;
        return the seconds until the next check.
        """
        running = {worker: worker.running() for worker in workers}
        self._jobs.note([job for jobs in running.values() for job in jobs], now)
        for worker, jobs in running.items():
            for held, index in jobs:
                if index != UNPICKLING and self._jobs.seconds((held, index)) > LONG_JOB_SECONDS:
                    held.worker = worker.pid
                    if not worker.together:  # else no job of the batch can be taken over alone
                        held.runs_long(index, worker.pid)
        if limit is None:
            return WATCHDOG_CHECK_SECONDS
        for worker, jobs in running.items():
            for held, index in jobs:
                # A coroutine is cancelled by its own worker, unless it blocks that.
                cancelled = worker.coroutines and index != UNPICKLING
                most = 1.5 * limit + CANCEL_SECONDS if cancelled else limit
                if self._jobs.seconds((held, index)) > most and worker.timed_out is None:
                    worker.timed_out = held, index
                    what = "unpickling a batch has taken" if index == UNPICKLING else "a job has run for"
                    still = ", and cancelling it had no effect" * cancelled
                    logger.warning(
                        "%s more than %g s (--job-timeout)%s; worker %d is ended", what, limit, still, worker.pid
                    )
                    self._end(worker.pid)
        return min(WATCHDOG_CHECK_SECONDS / 2, limit / 4)

    def over_workers(self, workers: Collection[WorkerProcess], now: float) -> None:
        """Kill workers that live on without their socket, for nothing is heard of their jobs any
        more, and those that were told to end and do not. Name those that do not get ready.
        """
        lost = [worker for worker in workers if worker.gone]
        starting = [worker for worker in workers if not (worker.ready or worker.gone or worker.unusable)]
        ending = [worker for worker in workers if worker.quitting and not worker.gone]
        seen = [(worker, "lost") for worker in lost] + [(worker, "starting") for worker in starting]
        self._workers.note(seen + [(worker, "ending") for worker in ending], now)
        for worker in lost:
            # If it has died, the fork server says so in a moment.
            silent = BUSY_SILENT_SECONDS if worker.running() else IDLE_SILENT_SECONDS
            if not worker.cut_off and self._workers.seconds((worker, "lost")) > silent:
                worker.cut_off = WITHOUT_SOCKET
                self._end(worker.pid)
        for worker in ending:
            if not worker.cut_off and self._workers.seconds((worker, "ending")) > ENDING_SECONDS:
                worker.cut_off = STILL_ENDING
                logger.warning(
                    "worker %d was told to end, and its teardown has been running for %.0f s; it is killed",
                    worker.pid,
                    ENDING_SECONDS,
                )
                self._end(worker.pid)
        slow = [worker for worker in starting if self._workers.seconds((worker, "starting")) > worker.warned_after]
        if slow:
            logger.warning(
                "setup(), or the import of the target, has been running for %.0f s in %s",
                slow[0].warned_after,
                f"worker {slow[0].pid}" if len(slow) == 1 else f"{len(slow)} workers, such as {slow[0].pid}",
            )
        for worker in slow:
            worker.warned_after *= 4  # rarer and rarer
