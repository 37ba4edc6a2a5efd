"""The clock of running jobs: how long each has run, without the time in which nothing ran.

Pure: what runs is passed in, and the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

__all__ = ["JobClock"]

STANDSTILL_SECONDS = 1.0  # longest gap between two notes that counts: this process was stopped in the rest


class JobClock:
    """Measures how long jobs have been seen to run, by a clock that stands still while this process
    does.

    A machine that is suspended, or a slave that is stopped, stops its workers, too, and no job is
    blamed for that.

    Args:
        now: The current time, at which the clock starts.
    """

    def __init__(self, now: float) -> None:
        self._time = 0.0
        self._read = now
        self._seen: dict[Hashable, float] = {}

    def note(self, running: Iterable[Hashable], now: float) -> None:
        """Note what runs now; every other job has ended."""
        self._time += min(now - self._read, STANDSTILL_SECONDS)
        self._read = now
        self._seen = {job: self._seen.get(job, self._time) for job in running}

    def seconds(self, job: Hashable) -> float:
        """Return for how long a job has been seen to run; 0.0 if it does not."""
        return self._time - self._seen.get(job, self._time)
