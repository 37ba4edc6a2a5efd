"""The rests that workers take after a batch, in proportion to the time that it took: ``--nice``.

The time is passed in. gh-ost's ``--nice-ratio`` is the model: a ratio of 0.5 lets a worker
rest for half as long as it has worked, so that it works two thirds of the time.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from taskmaster.slave.pool.worker_process import WorkerProcess

__all__ = ["Rests"]


class Rests:
    """Which workers rest, and until when.

    Attributes:
        ratio: How long a worker rests, in multiples of the time that its batch took; 0: not at all.
    """

    def __init__(self) -> None:
        self.ratio = 0.0
        self._began: dict[WorkerProcess, float] = {}
        self._until: dict[WorkerProcess, float] = {}

    def begin(self, worker: WorkerProcess, now: float) -> None:
        """Note that a worker gets a batch."""
        if self.ratio:
            self._began[worker] = now

    def end(self, worker: WorkerProcess, now: float) -> None:
        """Let a worker rest whose batch has ended, also if jobs in it have failed."""
        began = self._began.pop(worker, None)
        if began is not None:
            self._until[worker] = now + self.ratio * (now - began)

    def allow(self, worker: WorkerProcess) -> bool:
        """Return whether a worker may get a batch.

        While there are rests it has one batch at a time: a second one would begin as soon as the
        first ends.
        """
        return not self.ratio or (worker not in self._until and not any(worker.held))

    def keep_up(self, workers: Collection[WorkerProcess], now: float) -> float:
        """End the rests that are over; return the seconds until the next one is."""
        if not self._until and not self._began:
            return math.inf
        self._began = {worker: began for worker, began in self._began.items() if worker in workers}
        self._until = {worker: until for worker, until in self._until.items() if worker in workers and until > now}
        return min((until - now for until in self._until.values()), default=math.inf)
