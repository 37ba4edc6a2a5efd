"""The size of batches follows what they take."""

from __future__ import annotations

import itertools

from taskmaster.model import MAX_BATCH
from taskmaster.slave.batch_size import GROWTH, Sizer


def test_it_starts_with_one_job_for_each_slot() -> None:
    """Nothing is known of the jobs yet."""
    assert Sizer().size == 1
    assert Sizer(slots=8).size == 8


def test_it_grows_step_by_step() -> None:
    """Fast jobs: four times as many each time, and never more than a batch may have."""
    sizer = Sizer()
    sizes = [sizer.size]
    while sizes[-1] < MAX_BATCH:
        sizer.note(sizes[-1], sizes[-1] * 1e-7)
        sizes.append(sizer.size)

    assert all(after <= GROWTH * before for before, after in itertools.pairwise(sizes))
    assert sizes[-1] == MAX_BATCH


def test_it_settles_where_a_batch_takes_its_time() -> None:
    """Half a second's worth."""
    sizer = Sizer()
    for _ in range(20):
        sizer.note(sizer.size, sizer.size * 0.001)

    assert 490 <= sizer.size <= 500


def test_it_shrinks_at_once() -> None:
    """One slow batch is enough."""
    sizer = Sizer()
    for _ in range(20):
        sizer.note(sizer.size, sizer.size * 1e-6)
    sizer.note(1000, 100.0)

    assert sizer.size <= 5


def test_slow_jobs_come_one_by_one() -> None:
    """One job a slot, whatever it takes."""
    sizer = Sizer()
    sizer.note(1, 3600.0)

    assert sizer.size == 1


def test_a_chosen_size_is_kept() -> None:
    """Within what a batch may have."""
    sizer = Sizer(fixed=7)
    sizer.note(7, 100.0)

    assert sizer.size == 7
    assert Sizer(fixed=10**9).size == MAX_BATCH


def test_an_empty_batch_says_nothing() -> None:
    """All of it may have been recalled."""
    sizer = Sizer()
    sizer.note(0, 5.0)

    assert sizer.size == 1


def test_it_says_why_a_batch_is_no_larger() -> None:
    """For the status: each reason there is."""
    sizer = Sizer()
    assert sizer.reason == "nothing is known of the jobs yet"

    sizer.note(1, 1e-6)
    assert sizer.reason == "it grows with what is known of the jobs"

    for _ in range(20):
        sizer.note(sizer.size, sizer.size * 1e-6)
    assert sizer.reason == "no batch is larger"

    for _ in range(20):
        sizer.note(sizer.size, sizer.size * 0.001)
    assert sizer.reason == "0.5 s of work, at 1 ms a job"
    assert sizer.want(2) == (2, 500, 5, sizer.reason)

    sizer.note(1, 60.0)
    assert sizer.reason == "slow jobs: one for each that a worker runs at once"
    assert Sizer(fixed=3).reason == "chosen with --batch"
