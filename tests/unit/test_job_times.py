"""How long single jobs took: measured in a worker, told to the master, and not believed blindly."""

from __future__ import annotations

from typing import Any

import pytest

from taskmaster.job_times import BUCKETS, NO_TIMES, JobTimer, JobTimes, bucket_of, counted


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_job_has_the_time_until_the_next_one_begins() -> None:
    """What is done with its result is part of it; the last one ends when the batch does."""
    clock = Clock()

    def job(seconds: float) -> str:
        clock.now += seconds
        return f"took {seconds}"

    timer = JobTimer(job, clock)
    clock.now += 50.0  # before the first one
    assert [timer.timed(seconds) for seconds in (0.001, 2.0, 0.001)] == ["took 0.001", "took 2.0", "took 0.001"]
    clock.now += 0.5
    times = timer.times(2.502)

    assert times.seconds == 2.502
    assert times.longest == pytest.approx(2.0)
    assert dict(times.counts) == {bucket_of(0.001): 1, bucket_of(0.501): 1, bucket_of(2.0): 1}


def test_a_job_that_raises_is_one_that_took_its_time() -> None:
    """The next one begins after it."""
    clock = Clock()

    def job(seconds: float) -> None:
        clock.now += seconds
        raise ValueError("no")

    timer = JobTimer(job, clock)
    for seconds in (0.25, 0.25):
        with pytest.raises(ValueError, match="no"):
            timer.timed(seconds)
    assert dict(timer.times(0.5).counts) == {bucket_of(0.25): 2}


def test_jobs_of_no_time_are_in_the_first_bucket_and_a_batch_without_jobs_has_none() -> None:
    """Also those that are shorter than the clock can tell."""
    clock = Clock()
    timer = JobTimer(lambda job: job, clock)
    for _ in range(3):
        timer.timed(1)
        clock.now += 2e-7

    assert timer.times(6e-7).counts == ((0, 3),)
    assert JobTimer(print, clock).times(0.0) is NO_TIMES


def test_times_of_jobs_that_ran_beside_each_other_are_added_up() -> None:
    """Their sum may be longer than their batch took."""
    assert counted([]) is NO_TIMES
    assert counted([0.5, 0.001, 0.5]) == JobTimes(1.001, 0.5, ((bucket_of(0.001), 1), (bucket_of(0.5), 2)))


def test_what_is_told_arrives_as_it_was() -> None:
    """And nothing is told where nothing was measured."""
    times = counted([0.5, 0.001, 0.5])

    assert JobTimes.from_wire(times.to_wire()) == times
    assert NO_TIMES.to_wire() == ()
    assert JobTimes.from_wire(()) is NO_TIMES


@pytest.mark.parametrize(
    "value",
    [
        5, "ab", (1.0,), (1.0, 0.5, 3), (1.0, 0.5, (1, 2, 3)), (1.0, 0.5, (-1, 1)), (1.0, 0.5, (BUCKETS, 1)),
        (1.0, 0.5, (1, 0)), (1.0, 0.5, (1, 1 << 30)), (1.0, 0.5, (1.0, 1)), (1.0, 0.5, (True, 1)),
        (float("nan"), 0.5, (1, 1)), (1.0, float("inf"), (1, 1)), (-1.0, 0.5, (1, 1)), ("x", 0.5, (1, 1)),
        (1.0, 0.5, *[(1, 1)] * (BUCKETS + 1)),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(value: Any) -> None:
    """The sender is not trusted: a wrong number would be in every figure of the run."""
    with pytest.raises(ValueError, match="times of jobs"):
        JobTimes.from_wire(value)
