"""How many jobs a batch should have. Pure.

Aims at a time for a batch, which the master says: long enough that handing it out costs little,
short enough that a recall or a lost slave does.
"""

from __future__ import annotations

from collections import deque

from taskmaster.model import BATCH_SECONDS, MAX_BATCH, Want

__all__ = ["BatchSize"]

SMALL_SECONDS = 0.005  # less work than this is not worth sharing among workers
RECENT_BATCHES = 10  # whose times count
BATCH_GROWTH = 16  # a batch has at most this many times the jobs of the largest one so far


class BatchSize:
    """Follows the measured throughput of the workers: grows step by step, shrinks at once.

    Args:
        slots: How many jobs a worker runs at once; a batch has at least as many.
        fixed: The size, if the user has chosen it.
        most: Jobs after which a worker is replaced: a batch has at most as many.
    """

    def __init__(self, slots: int = 1, fixed: int | None = None, most: int | None = None) -> None:
        self._most = MAX_BATCH if most is None else min(most, MAX_BATCH)
        self._slots = slots
        self._fixed = fixed
        self._recent: deque[float] = deque(maxlen=RECENT_BATCHES)
        self._largest = slots
        self._target = BATCH_SECONDS  # of work in a batch

    def aim(self, seconds: float) -> None:
        """Note how much work a batch should be, as the master says."""
        self._target = seconds

    def note_slots(self, slots: int) -> None:
        """Note how many jobs a worker runs at once, as it says when it has loaded its callback."""
        self._slots = slots
        self._largest = max(self._largest, slots)

    def note(self, jobs: int, seconds: float) -> None:
        """Note that a worker took ``seconds`` for a batch of ``jobs``."""
        if jobs <= 0:
            return
        self._recent.append(max(seconds, 1e-9) / jobs)
        largest = min(self._largest, jobs) if seconds > self._target else max(self._largest, jobs)
        self._largest = max(self._slots, largest)

    def want(self, batches: int) -> Want:
        """Return what to ask the master for."""
        return Want(batches, self.size, self.small, self.reason)

    @property
    def size(self) -> int:
        """Jobs for the next batch."""
        if self._fixed is not None:
            # Never fewer than run at once: a worker holds two batches, and its threads or
            # coroutines would have nothing to do.
            return min(max(self._fixed, self._slots), self._most)
        return min(self._most, max(self._slots, min(self._within(self._target), self._largest * BATCH_GROWTH)))

    @property
    def reason(self) -> str:
        """Why ``size`` is not larger."""
        if self.size == self._most < MAX_BATCH:
            return "a worker is replaced then (--jobs-per-worker)"
        if self._fixed is not None:
            more = f"--batch={self._fixed}, but one for each that a worker runs at once"
            return more if self._fixed < self._slots else "chosen with --batch"
        if not self._recent:
            return "nothing is known of the jobs yet"
        within, grown = self._within(self._target), self._largest * BATCH_GROWTH
        if within > self._slots and within <= min(grown, MAX_BATCH):
            return f"{self._target:g} s of work, at {1000 * self._target / within:.3g} ms a job"
        unknown = "it grows with what is known of the jobs" if grown < MAX_BATCH else "no batch is larger"
        return "slow jobs: one for each that a worker runs at once" if within <= self._slots else unknown

    @property
    def small(self) -> int:
        """How many jobs are done so soon that sharing them out gains nothing."""
        return min(self._within(SMALL_SECONDS), MAX_BATCH)

    def _within(self, seconds: float) -> int:
        """Return how many jobs a worker does in these seconds; 0 while nothing is measured."""
        if not self._recent:
            return 0
        slow = sorted(self._recent)[int(0.9 * (len(self._recent) - 1) + 0.5)]
        # A batch slower than all recent ones counts at once, not when it has become one of ten.
        return int(seconds / max(slow, self._recent[-1]))
