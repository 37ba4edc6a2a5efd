"""How many jobs go into one batch, and why not more."""

from __future__ import annotations

from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.model import MAX_BATCH, Want

__all__ = ["BatchLimit"]

SMALLER_WEIGHT = 0.1  # weight of a new size that is smaller than what was known


class BatchLimit:
    """The largest number of jobs that one batch may have now, and the reason for it.

    Args:
        limits: how large a batch may become.
        slaves: among whom the jobs are shared out.

    Attributes:
        bytes_per_job: about how large a pickled job is.
        last: jobs of the batch that was handed out last; 0 if none was.
        reason: why that batch was no larger.
    """

    def __init__(self, limits: Limits, slaves: ConnectedSlaves) -> None:
        self.bytes_per_job = float(limits.batch_bytes)
        self.last = 0
        self.reason = ""
        self._limits = limits
        self._slaves = slaves
        self._measured = False

    def note(self, size: float) -> None:
        """Take a job's size in bytes into account: at once where it is larger than what was known,
        slowly where it is smaller.
        """
        known = self.bytes_per_job
        grows = size > known or not self._measured
        self.bytes_per_job = float(size) if grows else (1 - SMALLER_WEIGHT) * known + SMALLER_WEIGHT * size
        self._measured = True

    def cut(self, count: int, reason: str) -> int:
        """Note that a batch has only ``count`` jobs, for a reason of its own."""
        self.reason = reason
        return count

    def size(self, slave: ConnectedSlave, want: Want, waiting: int) -> int:
        """Return the most jobs for one batch, so that every worker finds work and a blob stays
        small.
        """
        if want.jobs == 1:  # of jobs that take long; for a batch of one, the rest is a thirtieth of an exchange
            return self.cut(1, want.reason)
        # A worker that runs many jobs at once gets one for each, as long as there are as many for
        # the others.
        each = slave.slots // slave.workers
        once = min(each, -(-waiting * each // max(1, self._slaves.fed_slots)))
        fair = max(waiting // max(1, self._slaves.fed_workers), want.small, once)
        per_job = max(1.0, self.bytes_per_job)
        fit = int(max(self._limits.batch_bytes / per_job, min(want.small, self._limits.small_bytes / per_job)))
        size = max(1, min(want.jobs, MAX_BATCH, fair, fit))
        if size == fair:
            return self.cut(size, "a fair share of what waits")
        if size == fit:
            return self.cut(size, f"about {fit * per_job / 1000:.0f} KB, at {per_job:.0f} bytes a job")
        return self.cut(size, want.reason)
