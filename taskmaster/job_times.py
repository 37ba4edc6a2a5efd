"""How long single jobs took, as a worker counts it for a batch: a histogram in powers of two of a
microsecond. Pure: the clock is passed in.

A batch tells how long all of its jobs took; their mean hides a slow one among many, and where a
worker runs several at once it is no job's time at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from math import frexp
from typing import Any, NamedTuple

__all__ = [
    "BUCKETS",
    "MICROSECONDS",
    "MOST_SECONDS",
    "NO_TIMES",
    "JobTimer",
    "JobTimes",
    "bucket_of",
    "counted",
    "possible",
]

BUCKETS = 48  # the last of which has all times from two years on
MICROSECONDS = 1e6  # in a second
LEAST_SECONDS = 1e-9  # of a clock: exponents below 0 are those of less than a microsecond
BELOW = 16  # of these
MOST_SECONDS = 1e9
"""Longest time that a report may say: thirty years. Sums of such times never become infinite."""

MOST_JOBS = 1 << 24


def possible(seconds: float) -> float:
    """Return a time that was taken; 0 for one that cannot be: somebody has set the clock."""
    return seconds if 0.0 <= seconds < MOST_SECONDS else 0.0


def bucket_of(seconds: float) -> int:
    """Return the bucket of a job's time."""
    bucket: int = frexp(seconds * MICROSECONDS)[1]
    if 0 <= bucket < BUCKETS:
        return bucket
    return 0 if bucket < 0 else BUCKETS - 1


class JobTimes(NamedTuple):
    """How long the jobs of a batch took.

    Attributes:
        seconds: All of them together.
        longest: The longest one.
        counts: How many took how long, by bucket; none if that was not measured.
    """

    seconds: float = 0.0
    longest: float = 0.0
    counts: tuple[tuple[int, int], ...] = ()

    def to_wire(self) -> tuple[Any, ...]:
        """Return it as plain values; () if there is nothing to tell."""
        return (self.seconds, self.longest, *self.counts) if self.counts else ()

    @classmethod
    def from_wire(cls, value: Any) -> JobTimes:
        """Check and rebuild what ``to_wire`` gave; the sender is not trusted.

        Raises:
            ValueError: The value cannot be one.
        """
        if not value:
            return NO_TIMES
        try:
            seconds, longest, *counts = value
            found = cls(float(seconds), float(longest), tuple((bucket, jobs) for bucket, jobs in counts))
        except (TypeError, ValueError, OverflowError):
            raise ValueError("the times of jobs are none") from None
        if not (0.0 <= found.longest <= MOST_SECONDS and 0.0 <= found.seconds <= MOST_SECONDS):
            raise ValueError("the times of jobs are none that there are")
        for bucket, jobs in found.counts:
            if not (type(bucket) is type(jobs) is int and 0 <= bucket < BUCKETS and 0 < jobs <= MOST_JOBS):
                raise ValueError("the times of jobs are in no bucket")
        if len(found.counts) > BUCKETS:
            raise ValueError("the times of jobs have too many buckets")
        return found


NO_TIMES = JobTimes()


class JobTimer:
    """Takes the times of jobs that run one after the other: each ends where the next one begins.

    Args:
        call: Is called with each job.
        clock: Seconds.

    Attributes:
        timed: Calls ``call``, and notes when it does.
    """

    __slots__ = ("_clock", "_counts", "_noted", "timed")

    def __init__(self, call: Callable[[Any], Any], clock: Callable[[], float]) -> None:
        counts = [0] * (BUCKETS + BELOW)  # what is below a microsecond is at its end
        last, longest = math.inf, 0.0

        def timed(job: Any) -> Any:
            nonlocal last, longest
            now = clock()
            took = now - last  # of the job before; minus infinity at the first one, in bucket 0
            longest = max(longest, took)
            counts[frexp(took * MICROSECONDS)[1]] += 1
            last = now
            return call(job)

        def noted() -> tuple[float, float]:
            return last, longest

        self.timed: Callable[[Any], Any] = timed
        self._noted, self._counts, self._clock = noted, counts, clock

    def times(self, seconds: float) -> JobTimes:
        """Return the times, now that the last job has ended.

        Args:
            seconds: That all took together.
        """
        last, longest = self._noted()
        if last == math.inf:
            return NO_TIMES
        took, counts = max(LEAST_SECONDS, self._clock() - last), self._counts
        counts[frexp(took * MICROSECONDS)[1]] += 1
        counts[0] -= 1  # what the first one has noted
        counts[0] += sum(counts[BUCKETS:])
        found = tuple((bucket, jobs) for bucket, jobs in enumerate(counts[:BUCKETS]) if jobs)
        return JobTimes(seconds, possible(max(longest, took)), found)


def counted(times: Iterable[float]) -> JobTimes:
    """Return the times of single jobs, each in seconds."""
    counts: dict[int, int] = {}
    seconds = longest = 0.0
    for took in times:
        bucket = bucket_of(took)
        counts[bucket] = counts.get(bucket, 0) + 1
        seconds += took
        longest = max(longest, took)
    return JobTimes(seconds, longest, tuple(sorted(counts.items()))) if counts else NO_TIMES
