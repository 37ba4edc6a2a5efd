"""The size of batches follows what they take."""

from __future__ import annotations

import itertools

from taskmaster.model import MAX_BATCH
from taskmaster.slave.pool.batch_size import BATCH_GROWTH, BatchSize


def test_it_starts_with_one_job_for_each_slot() -> None:
    """Nothing is known of the jobs yet."""
    assert BatchSize().size == 1
    assert BatchSize(slots=8).size == 8


def test_it_grows_step_by_step() -> None:
    """Fast jobs: four times as many each time, and never more than a batch may have."""
    batch_size = BatchSize()
    sizes = [batch_size.size]
    while sizes[-1] < MAX_BATCH:
        batch_size.note(sizes[-1], sizes[-1] * 1e-7)
        sizes.append(batch_size.size)

    assert all(after <= BATCH_GROWTH * before for before, after in itertools.pairwise(sizes))
    assert sizes[-1] == MAX_BATCH


def test_it_settles_where_a_batch_takes_its_time() -> None:
    """Half a second's worth."""
    batch_size = BatchSize()
    for _ in range(20):
        batch_size.note(batch_size.size, batch_size.size * 0.001)

    assert 490 <= batch_size.size <= 500


def test_it_shrinks_at_once() -> None:
    """One slow batch is enough."""
    batch_size = BatchSize()
    for _ in range(20):
        batch_size.note(batch_size.size, batch_size.size * 1e-6)
    batch_size.note(1000, 100.0)

    assert batch_size.size <= 5


def test_slow_jobs_come_one_by_one() -> None:
    """One job a slot, whatever it takes."""
    batch_size = BatchSize()
    batch_size.note(1, 3600.0)

    assert batch_size.size == 1


def test_a_chosen_size_is_kept() -> None:
    """Within what a batch may have."""
    batch_size = BatchSize(fixed=7)
    batch_size.note(7, 100.0)

    assert batch_size.size == 7
    assert BatchSize(fixed=10**9).size == MAX_BATCH


def test_an_empty_batch_says_nothing() -> None:
    """All of it may have been recalled."""
    batch_size = BatchSize()
    batch_size.note(0, 5.0)

    assert batch_size.size == 1


def test_it_says_why_a_batch_is_no_larger() -> None:
    """For the status: each reason there is."""
    batch_size = BatchSize()
    assert batch_size.reason == "nothing is known of the jobs yet"

    batch_size.note(1, 1e-6)
    assert batch_size.reason == "it grows with what is known of the jobs"

    for _ in range(20):
        batch_size.note(batch_size.size, batch_size.size * 1e-6)
    assert batch_size.reason == "no batch is larger"

    for _ in range(20):
        batch_size.note(batch_size.size, batch_size.size * 0.001)
    assert batch_size.reason == "0.5 s of work, at 1 ms a job"
    assert batch_size.want(2) == (2, 500, 5, batch_size.reason)

    batch_size.note(1, 60.0)
    assert batch_size.reason == "slow jobs: one for each that a worker runs at once"
    assert BatchSize(fixed=3).reason == "chosen with --batch"


def test_a_chosen_size_never_takes_threads_or_coroutines_away() -> None:
    """A batch has at least as many jobs as its worker runs at once, and the status says why."""
    batch_size = BatchSize(fixed=3)
    sizes = [batch_size.size]
    for slots in (100, 4, 3, 2, 10**6):
        batch_size.note_slots(slots)
        sizes.append(batch_size.size)

    assert sizes == [3, 100, 4, 3, 3, MAX_BATCH]
    assert batch_size.reason.startswith("--batch=3, but")


def test_what_a_worker_runs_at_once_is_known_when_it_is_ready() -> None:
    """Without a chosen size, too: the first batches are as large."""
    batch_size = BatchSize()
    batch_size.note_slots(8)

    assert batch_size.size == 8


def test_no_batch_is_larger_than_what_a_worker_runs_until_it_is_replaced() -> None:
    """The rest of it would only go back; not even a chosen size is, and the status says why."""
    batch_size = BatchSize(fixed=50, most=20)
    batch_size.note_slots(30)

    assert (batch_size.size, batch_size.reason) == (20, "a worker is replaced then (--jobs-per-worker)")

    batch_size = BatchSize(most=20)
    for _ in range(5):
        batch_size.note(batch_size.size, batch_size.size * 1e-6)

    assert batch_size.size == 20


def test_the_master_says_how_long_a_batch_is() -> None:
    """Longer ones for a large fleet, and shorter ones again when it has shrunk."""
    batch_size = BatchSize()
    batch_size.aim(4.0)
    for _ in range(20):
        batch_size.note(batch_size.size, batch_size.size * 0.001)

    assert 3990 <= batch_size.size <= 4000
    assert batch_size.reason == "4 s of work, at 1 ms a job"

    batch_size.aim(0.5)

    assert batch_size.size <= 500
