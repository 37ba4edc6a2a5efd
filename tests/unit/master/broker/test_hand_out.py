"""How much a slave is handed out, and when nothing is."""

from __future__ import annotations

import pytest
from support.broker import broker_with, enter, take
from support.master import settle

from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.model import Report, ReportEnd, Want


def test_a_batch_leaves_work_for_the_other_workers() -> None:
    """No slave takes more than its share of the queue, a batch for each worker."""
    broker = broker_with(range(100))
    session = enter(broker)

    assert take(broker, session, 1000).batch.jobs == list(range(50))


def test_a_slave_holds_at_most_two_batches_a_worker() -> None:
    """However often it asks."""
    broker = broker_with(range(100))
    session = enter(broker, workers=1)
    take(broker, session, 1)
    take(broker, session, 1)

    assert broker.take(session, Want(1, 1)) is None


def test_an_answer_to_an_old_connection_carries_no_jobs() -> None:
    """It would not arrive."""
    broker = broker_with(range(40))
    old = enter(broker)
    enter(broker)

    assert broker.take(old, Want(1, 5)) is None


@pytest.mark.parametrize("reason", ["draining", "paused"])
def test_nothing_is_handed_out_while_the_run_rests(reason: str) -> None:
    """Reports still count."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 2)
    setattr(broker, reason, True)

    assert broker.take(session, Want(1, 2)) is None
    assert settle(broker, lease, Report(lease.token, 2, end=ReportEnd.FINISHED))


@pytest.mark.parametrize(
    ("jobs", "small", "per_job", "expected"),
    [
        (7, 0, 1.0, (7, "the slave's reason")),
        (600, 0, 1.0, (500, "a fair share of what waits")),
        (900, 700, 1.0, (700, "a fair share of what waits")),
        (600, 0, 50.0, (100, "about 5 KB, at 50 bytes a job")),
        (600, 400, 50.0, (200, "about 10 KB, at 50 bytes a job")),
    ],
)
def test_a_batch_is_no_larger_than_its_reason_says(
    jobs: int, small: int, per_job: float, expected: tuple[int, str]
) -> None:
    """What the slave wants, a fair share, or so many bytes; what is done within milliseconds may be
    more of both.
    """
    broker = broker_with(range(1000), batch_bytes=5000, small_bytes=10_000)
    broker.batch_limit.bytes_per_job = per_job

    lease = broker.take(enter(broker, workers=2), Want(1, jobs, small, "the slave's reason"))

    assert lease is not None
    assert (len(lease.batch.jobs), broker.batch_limit.reason) == expected
    assert broker.batch_limit.last == expected[0]


def test_a_worker_that_runs_many_jobs_at_once_gets_one_for_each() -> None:
    """While the queue runs out too: a share of a share would leave most of what it could run at
    once idle.
    """
    broker = broker_with(range(1000))
    one, other = (ConnectedSlave(name, name, 1, 500, 0.0) for name in ("one", "other"))
    broker.enter(one, [])
    broker.enter(other, [])

    sizes = []
    for session in (one, other, one, other):
        lease = broker.take(session, Want(1, 500))
        sizes.append(len(lease.batch.jobs) if lease else 0)

    assert sizes == [500, 250, 125, 63]
