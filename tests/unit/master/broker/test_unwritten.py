"""What waits for a checkpoint is bounded in bytes, whatever the number of jobs."""

from __future__ import annotations

import pytest
from support.master import settle

from taskmaster.master.broker.broker import UNWRITTEN_BYTES, Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.unwritten import Unwritten
from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want

BAD = Attempt(0.0, "s", "ValueError", "bad", "x" * 96)


def failed(size: int) -> FailedJob:
    return FailedJob(1, "1", "1", b"p" * size, (BAD,))


def test_the_size_is_that_of_payloads_and_texts() -> None:
    """And goes down with what the store has written."""
    jobs: Unwritten[FailedJob] = Unwritten()
    for size in (100, 200, 300):
        jobs.append(failed(size))

    assert (len(jobs), jobs.size) == (3, 600 + 3 * 99)

    jobs.written(2)

    assert ([job.payload for job in jobs.all()], jobs.size) == ([b"p" * 300], 399)


def broker_with_failed(size: int, count: int) -> tuple[Broker, ConnectedSlave]:
    """A broker of which so many jobs of a size have failed."""
    broker = Broker("i", Limits(retries=0, max_failures=1000))
    broker.intake.add(range(1000))
    broker.batch_limit.note(1.0)
    slave = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(slave, ())
    for _ in range(count):
        lease = broker.take(slave, Want(1, 1))
        if lease is None:
            break
        failure = Failure(0, "ValueError", "bad", "", FailureKind.FINAL)
        report = Report(lease.token, 1, failures=(failure,), end=ReportEnd.FINISHED)
        settle(broker, lease, report, payload=b"p" * size)
    return broker, slave


@pytest.mark.parametrize("size", [10, 1_000_000, 10_000_000])
def test_nothing_is_handed_out_while_too_much_waits_for_a_checkpoint(size: int) -> None:
    """Failed jobs wait with their payload: at most so many bytes, and the one that was running."""
    broker, slave = broker_with_failed(size, 100)

    assert broker.settlement.failed.size < UNWRITTEN_BYTES + size + 1000
    assert broker.is_behind is (size > 10)
    assert (broker.take(slave, Want(1, 1)) is None) is (size > 10)

    broker.confirm(broker.collect())

    assert (broker.is_behind, broker.settlement.failed.size) == (False, 0)
    assert broker.take(slave, Want(1, 1)) is not None


def test_parked_jobs_on_their_way_count_too() -> None:
    """With each attempt, a job that waits is written anew."""
    broker, slave = broker_with_failed(10, 1)
    broker.parking.add(5, ParkedJob(-1, "5", b"p" * UNWRITTEN_BYTES, b"f", (BAD,)))

    assert broker.is_behind
    assert broker.take(slave, Want(1, 1)) is None


def test_jobs_that_wait_for_another_attempt_are_bounded_in_bytes() -> None:
    """By their size, and by what was tried: nothing is read meanwhile."""
    broker = Broker("i", Limits())
    broker.intake.add(range(10))
    slave = ConnectedSlave("s", "s", 4, 4, 0.0)
    broker.enter(slave, ())
    broker.batch_limit.note(1_000_000)
    most = 3_000_000

    assert not broker.is_full(most)

    for _ in range(3):
        lease = broker.take(slave, Want(1, 1))
        assert lease is not None
        failure = Failure(0, "ValueError", "bad", "")
        settle(broker, lease, Report(lease.token, 1, failures=(failure,), end=ReportEnd.FINISHED))

    assert broker.is_full(most)

    slave.renewed = 100.0
    broker.tick(100.0)  # they can be handed out again

    assert broker.is_full(most)
    assert broker.redelivery.jobs == 3

    while broker.take(slave, Want(1, 1)) is not None:
        slave.leases.clear()

    assert not broker.is_full(most)


def test_what_was_tried_counts_as_well() -> None:
    """Ten thousand tracebacks are as large as the jobs."""
    broker = Broker("i", Limits())
    broker.intake.add(range(10))
    broker.batch_limit.note(1.0)
    slave = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(slave, ())
    lease = broker.take(slave, Want(1, 1))
    assert lease is not None
    failure = Failure(0, "ValueError", "bad", "x" * 8000)
    settle(broker, lease, Report(lease.token, 1, failures=(failure,), end=ReportEnd.FINISHED))

    for now in (0.0, 100.0):
        broker.tick(now)

        assert broker.is_full(8000)
        assert not broker.is_full(9000)
