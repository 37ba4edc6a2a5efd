"""How workers end that were told to: each has some time for what it has left to do, and says how
that went.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from taskmaster.slave.pool.worker_process import WorkerProcess

if TYPE_CHECKING:
    from taskmaster.slave.pool.workforce import Workforce

__all__ = ["WORKER_END_SECONDS", "WorkerEnds", "wind_up"]

logger = logging.getLogger(__name__)

WORKER_END_SECONDS = 5.0  # least time that workers have to end, teardown included
WORKER_LATE_SECONDS = 1.0  # further time for a worker to say itself what hangs
ORPHANED_SECONDS = 1.0  # for workers to end when the command that started this slave is gone


class WorkerEnds:
    """Remembers what workers could not do at their end.

    Attributes:
        unfinished: a sentence for each worker.
        lost: a sentence for each output in which lines are missing.
    """

    def __init__(self) -> None:
        self.unfinished: list[str] = []
        self.lost: list[str] = []
        self._remarks: set[str] = set()

    def note(self, worker: WorkerProcess, problem: str) -> None:
        """Note what a worker could not do; "" if it has done all."""
        if problem:
            self.unfinished.append(problem)
            logger.warning("worker %d could not end well: %s", worker.pid, problem)

    def remark(self, worker: WorkerProcess, sentences: Iterable[str]) -> None:
        """Say what may have been lost at the end of a worker, each kind once for all of them: what
        differs, such as names, comes behind a colon.
        """
        for sentence in sentences:
            if (kind := sentence.partition(": ")[0]) not in self._remarks:
                self._remarks.add(kind)
                logger.warning("worker %d: %s", worker.pid, sentence)

    @property
    def loss(self) -> str:
        """Why something that callbacks wrote may be lost, as a sentence; "" if nothing is."""
        return next(reversed(self.unfinished or self.lost), "")

    def summary(self) -> str:
        """Return what a person should know, "" if all workers have done all."""
        if not self.unfinished:
            return ""
        return (
            f"workers that could not do at their end what was left to be done: {len(self.unfinished)}; the last one: "
            f"{self.unfinished[-1]}. What they had to write may be lost."
        )


def wind_up(
    workforce: Workforce,
    selector: selectors.BaseSelector,
    seconds: float,
    *,
    hurry: Callable[[], bool],
    orphaned: Callable[[], bool],
) -> None:
    """Have the workers tear down, and write what they have left to write.

    Workers that run a job are killed: their jobs are handed out again.

    Args:
        workforce: has the workers.
        selector: the supervisor's.
        seconds: how long the end of a worker may take.
        hurry: whether all is to end at once.
        orphaned: whether the command that started this slave is gone.
    """
    alone = orphaned()
    seconds = ORPHANED_SECONDS if alone else max(WORKER_END_SECONDS, seconds)
    workforce.kill(idle=False)
    workforce.quit(seconds)
    began = time.monotonic()
    deadline = began + seconds + WORKER_LATE_SECONDS
    while workforce.workers and time.monotonic() < deadline and not hurry():
        if time.monotonic() > began + WORKER_END_SECONDS and not any(
            worker.ready for worker in workforce.workers.values()
        ):
            break  # nothing is left to be done where no job has run
        for key, _ in selector.select(0.05):
            key.data()
        workforce.outputs.write()
        if orphaned() and not alone:
            alone, deadline = True, min(deadline, time.monotonic() + ORPHANED_SECONDS)
    if not hurry():
        for worker in workforce.workers.values():
            if worker.ran and not worker.closed:  # one that has run no job has nothing to lose
                workforce.ends.note(worker, "it had not ended within --grace")
    workforce.kill()
