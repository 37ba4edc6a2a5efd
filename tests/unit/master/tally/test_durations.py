"""How long jobs take: quantiles of a histogram, exact in sum and count."""

from __future__ import annotations

import pytest

from taskmaster.master.tally.durations import BUCKETS, Durations, bucket_of, upper_bound


@pytest.mark.parametrize("seconds", [1e-9, 1e-6, 3e-6, 0.002, 1.0, 7200.0])
def test_a_time_lies_below_the_bound_of_its_bucket_and_not_of_the_one_before(seconds: float) -> None:
    """The bounds are powers of two of a microsecond."""
    bucket = bucket_of(seconds)

    assert seconds < upper_bound(bucket)
    assert bucket == 0 or seconds >= upper_bound(bucket - 1)


def test_no_time_is_too_short_or_too_long() -> None:
    """Also what no clock would give."""
    assert bucket_of(0.0) == 0
    assert bucket_of(1e300) == BUCKETS - 1


def test_jobs_that_take_nearly_the_same_time_are_told_apart() -> None:
    """Between 20 and 50 ms are only two buckets: no job took more than the longest, and most took
    less.
    """
    durations = Durations()
    for milliseconds in range(20, 51):
        durations.add(milliseconds / 1000, 1)

    found = [durations.quantile(share) for share in (0.5, 0.95, 1.0)]
    assert found == [pytest.approx(seconds, rel=0.1) for seconds in (0.035, 0.0485, 0.05)]


def test_where_the_longest_is_not_known_another_bound_is_taken() -> None:
    """Of a slave, only the buckets are."""
    durations = Durations()
    durations.counts[bucket_of(0.033)] = 100

    assert durations.quantile(0.95, 0.034) == pytest.approx(0.034, rel=0.01)
    assert durations.quantile(0.95) == pytest.approx(0.064, rel=0.01)


def test_quantiles_are_of_jobs_and_sums_exact() -> None:
    """99 quick jobs in a batch, and a slow one."""
    durations = Durations()
    assert durations.quantile(0.5) is None
    durations.add(3.0, 1)
    assert not durations.averaged
    durations.add(0.099, 99)

    assert durations.quantile(0.5) == pytest.approx(0.001, rel=0.5)
    assert durations.quantile(0.999) == pytest.approx(3.0, rel=0.5)
    assert (durations.count, durations.longest) == (100, 3.0)
    assert durations.seconds == pytest.approx(3.099)
    assert durations.averaged
