"""The clock of running jobs: how long each has run, without the time in which nothing ran.

Called by the pool, several times a second. Pure: what runs is passed in, and the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

__all__ = ["JobClock"]

STANDSTILL = 1.0  # seconds between two looks, beyond which this process did not run


class JobClock:
    """First sight of each running job, on a clock that stands still while this process does.

    A machine that is suspended, or a slave that is stopped, takes its workers with it, and nobody
    is blamed for that.
    """

    def __init__(self, now: float) -> None:
        self._time = 0.0
        self._read = now
        self._seen: dict[Hashable, float] = {}

    def look(self, running: Iterable[Hashable], now: float) -> None:
        """Note what runs now; what does not has ended."""
        self._time += min(now - self._read, STANDSTILL)
        self._read = now
        self._seen = {job: self._seen.get(job, self._time) for job in running}

    def seconds(self, job: Hashable) -> float:
        """For how long the job has been seen to run; 0.0 for one that does not."""
        return self._time - self._seen.get(job, self._time)
