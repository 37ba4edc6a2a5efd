"""How long jobs take: a histogram in powers of two of a microsecond. Pure.

Where jobs take a millisecond or more, a report has the times of single ones. Of shorter
ones, and of lists, it says how long the batch took: they are counted with their mean.
"""

from __future__ import annotations

import math

from taskmaster.job_times import BUCKETS, MICROSECONDS, JobTimes, bucket_of

__all__ = ["BUCKETS", "Durations", "bucket_of", "upper_bound"]


def upper_bound(bucket: int) -> float:
    """Return the seconds below which the times in a bucket are."""
    return float(2.0**bucket / MICROSECONDS)


class Durations:
    """How long jobs take.

    Attributes:
        counts: How many jobs took how long, by bucket.
        seconds: What all of them took together.
        longest: Seconds of the longest job; of a batch whose jobs were not timed, their mean. 0.0
            where that is not followed.
        averaged: Whether a batch of several jobs was counted with their mean.
    """

    __slots__ = ("averaged", "counts", "longest", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.seconds = 0.0
        self.longest = 0.0
        self.averaged = False

    def add(self, seconds: float, jobs: int) -> None:
        """Note how many jobs a report has, and the time that they took together."""
        each = seconds / jobs
        self.averaged = self.averaged or jobs > 1
        self.counts[bucket_of(each)] += jobs
        self.seconds += seconds
        self.longest = max(self.longest, each)

    def add_times(self, times: JobTimes) -> None:
        """Note how long the jobs of a report took, each of them."""
        for bucket, jobs in times.counts:
            self.counts[bucket] += jobs
        self.seconds += times.seconds
        if times.longest > self.longest:  # noqa: PLR1730  # twice as fast as max()
            self.longest = times.longest

    @property
    def count(self) -> int:
        """Return the number of jobs."""
        return sum(self.counts)

    def quantile(self, fraction: float, most: float = math.inf) -> float | None:
        """Return the seconds within which that fraction of the jobs ended; None if no job has. The
        times within a bucket are taken to be spread evenly.

        Args:
            fraction: From 0 to 1.
            most: Seconds that no job has taken, where ``longest`` is not followed.
        """
        left = fraction * self.count
        for bucket, jobs in enumerate(self.counts):
            if jobs and left <= jobs:
                low = upper_bound(bucket - 1) if bucket else 0.0
                high = max(low, min(upper_bound(bucket), self.longest or most))
                return low + (high - low) * left / jobs
            left -= jobs
        return None
