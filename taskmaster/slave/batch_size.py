"""How many jobs a batch should have. Pure.

Called by the supervisor with what batches took. Aims at a time for a batch: long enough that
handing it out costs little, short enough that a recall or a lost slave does.
"""

from __future__ import annotations

from collections import deque

from taskmaster.model import MAX_BATCH, Want

__all__ = ["BatchSize"]

TARGET = 0.5  # seconds of work in a batch
SMALL = 0.005  # seconds of work that is not worth sharing out
RECENT = 10  # batches that are looked at
GROWTH = 16  # at most so many times the size of the last batch


class BatchSize:
    """Follows the measured throughput of the workers: grows step by step, shrinks at once.

    Args:
        slots: jobs that a worker runs at once; a batch has at least that many.
        fixed: the size, if the user has chosen it.
    """

    def __init__(self, slots: int = 1, fixed: int | None = None) -> None:
        self._slots = slots
        self._fixed = fixed
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._largest = slots

    def note(self, jobs: int, seconds: float) -> None:
        """A batch of so many jobs took so long, in one worker."""
        if jobs <= 0:
            return
        self._recent.append(max(seconds, 1e-9) / jobs)
        self._largest = max(self._slots, min(self._largest, jobs) if seconds > TARGET else max(self._largest, jobs))

    def want(self, batches: int) -> Want:
        """What to ask the master for."""
        return Want(batches, self.size, self.small, self.reason)

    @property
    def size(self) -> int:
        """Jobs for the next batch."""
        if self._fixed is not None:
            return min(self._fixed, MAX_BATCH)
        return max(self._slots, min(self._within(TARGET), self._largest * GROWTH, MAX_BATCH))

    @property
    def reason(self) -> str:
        """Why ``size`` is not larger."""
        if self._fixed is not None:
            return "chosen with --batch"
        if not self._recent:
            return "nothing is known of the jobs yet"
        within, grown = self._within(TARGET), self._largest * GROWTH
        if within > self._slots and within <= min(grown, MAX_BATCH):
            return f"{TARGET:g} s of work, at {1000 * TARGET / within:.3g} ms a job"
        if within <= self._slots:
            return "slow jobs: one for each that a worker runs at once"
        return "it grows with what is known of the jobs" if grown < MAX_BATCH else "no batch is larger"

    @property
    def small(self) -> int:
        """As many jobs as are done so soon that nobody gains by sharing them out."""
        return min(self._within(SMALL), MAX_BATCH)

    def _within(self, seconds: float) -> int:
        """How many jobs a worker does in a time, as far as is known."""
        if not self._recent:
            return 0
        slow = sorted(self._recent)[int(0.9 * (len(self._recent) - 1) + 0.5)]
        # A batch slower than all of the recent ones counts at once, not when it has become one of
        # ten.
        return int(seconds / max(slow, self._recent[-1]))
