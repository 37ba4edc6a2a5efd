"""How long jobs take: a histogram in powers of two of a microsecond. Pure.

A report says how long a batch took, not each of its jobs: they are counted with their mean. Where
each batch had one job, as with jobs that take long, these are the times of jobs.
"""

from __future__ import annotations

from math import frexp

__all__ = ["BUCKETS", "Durations", "bucket_of", "upper_bound"]

BUCKETS = 48  # the last of which has all times from two years on
MICROSECONDS = 1e6  # in a second


def bucket_of(seconds: float) -> int:
    """Return the bucket of a job's time."""
    place: int = frexp(seconds * MICROSECONDS)[1]
    if 0 <= place < BUCKETS:
        return place
    return 0 if place < 0 else BUCKETS - 1


def upper_bound(bucket: int) -> float:
    """Return the seconds below which the times in a bucket are."""
    return float(2.0**bucket / MICROSECONDS)


class Durations:
    """How long jobs take.

    Attributes:
        counts: How many jobs took how long, by bucket.
        seconds: What all of them took together.
        longest: Seconds of the longest job; of a batch, the mean of its jobs. 0.0 where that is not
            followed.
        averaged: Whether a batch of several jobs was counted, with their mean.
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

    @property
    def count(self) -> int:
        """Return the number of jobs."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which that share of the jobs ended; None if none has."""
        left = share * self.count
        for place, jobs in enumerate(self.counts):
            left -= jobs
            if jobs and left <= 0:
                middle = 0.75 * upper_bound(place)
                return min(middle, self.longest) if self.longest else middle
        return None
