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
        self._resting: dict[WorkerProcess, tuple[float, float]] = {}  # since when, and after how much work

    def begin(self, worker: WorkerProcess, now: float) -> None:
        """Note that a worker gets a batch."""
        self._began[worker] = now  # also without a ratio: there may be one when the batch ends

    def end(self, worker: WorkerProcess, now: float) -> None:
        """Let a worker rest whose batch has ended, also if jobs in it have failed."""
        began = self._began.pop(worker, None)
        if began is not None and self.ratio:
            self._resting[worker] = (now, now - began)

    def allow(self, worker: WorkerProcess) -> bool:
        """Return whether a worker may get a batch.

        While there are rests it has one batch at a time: a second one would begin as soon as the
        first ends.
        """
        return not self.ratio or (worker not in self._resting and not any(worker.held))

    def keep_up(self, workers: Collection[WorkerProcess], now: float) -> float:
        """End the rests that are over; return the seconds until the next one is."""
        if not self._resting and not self._began:
            return math.inf
        self._began = {worker: began for worker, began in self._began.items() if worker in workers}
        # By the ratio of now: the master may have changed it since the rest began.
        left = {worker: since + self.ratio * worked - now for worker, (since, worked) in self._resting.items()}
        self._resting = {
            worker: rest for worker, rest in self._resting.items() if worker in workers and left[worker] > 0
        }
        return min((left[worker] for worker in self._resting), default=math.inf)

    def __bool__(self) -> bool:
        """Return whether a worker rests."""
        return bool(self._resting)
