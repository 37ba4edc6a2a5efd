"""What a report settles, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.broker import broker_with, counted, enter, fail, take
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.watermark import settled_range
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.model import Failure, Report, ReportEnd, Want


def test_a_report_counts_once() -> None:
    """The same report again settles nothing more."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 5)
    settle(broker, lease, Report(lease.token, 3))
    settle(broker, lease, Report(lease.token, 3))

    assert broker.settlement.settled == 3
    assert broker.watermark.low == 3

    settle(broker, lease, Report(lease.token, 2))

    assert broker.settlement.settled == 3


def test_jobs_that_ended_out_of_order_are_counted() -> None:
    """Extra indices settle before the prefix reaches them, and not again when it does."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 5)
    settle(broker, lease, Report(lease.token, 1, (3, 4)))

    assert (broker.settlement.settled, broker.watermark.low, lease.open) == (3, 1, 2)

    settle(broker, lease, Report(lease.token, 5, end=ReportEnd.FINISHED))

    assert (broker.settlement.settled, broker.watermark.low) == (5, 5)
    assert lease.token not in broker.leases


def test_what_was_not_started_goes_back_without_blame() -> None:
    """A lower ``keep`` returns the rest of the batch, in order, to the head of the line."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 6)
    settle(broker, lease, Report(lease.token, 2, keep=3))
    again = take(broker, session, 10)

    assert again.batch.jobs == [3, 4, 5]
    assert again.batch.crashes == 0

    settle(broker, lease, Report(lease.token, 3, keep=3, end=ReportEnd.FINISHED))

    assert broker.settlement.settled == 3


def other_report(broker: Broker, lease: Lease) -> None:
    """The slave says the same over another connection."""
    settle(broker, lease, Report(lease.token, 1))


def parked_meanwhile(broker: Broker, lease: Lease) -> None:
    """The checkpointer parks a job of the batch."""
    first = lease.batch.first
    broker.parking.ask(first, lease.batch.jobs[0], ())
    broker.relief.park([(settled_range(first, [0], repr), first, ParkedJob(-1, "0", b"0", b"f"))])


def lost(broker: Broker, lease: Lease) -> None:
    """The slave is lost."""
    broker.redelivery.lose(broker.slaves[lease.slave])


@pytest.mark.parametrize("meanwhile", [other_report, parked_meanwhile, lost])
def test_the_books_may_move_while_keys_are_taken(meanwhile: Callable[[Broker, Lease], None]) -> None:
    """A report that was prepared before they moved changes nothing, and is prepared again."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 4)
    prepared = broker.prepare(session, Report(lease.token, 2))
    assert prepared is not None
    ranges = [settled_range(0, [0, 1], repr)]
    meanwhile(broker, lease)
    before = broker.counts()

    assert not broker.apply(prepared._replace(ranges=ranges))
    assert broker.counts() == before


def test_a_skipped_job_is_settled() -> None:
    """And counted apart."""
    broker = broker_with(range(3))
    session = enter(broker)
    fail(broker, take(broker, session, 1), "skip")

    assert (*counted(broker), broker.settlement.skipped) == (1, 0, 0, 1, 1)


def test_abort_stops_the_run_and_blames_nobody() -> None:
    """The job is there when the run is resumed; nothing more is handed out."""
    broker = broker_with(range(5))
    session = enter(broker)
    fail(broker, take(broker, session, 1), "abort")

    assert "Abort: why" in broker.settlement.stop
    assert (broker.settlement.settled, broker.watermark.low, broker.redelivery.jobs) == (0, 0, 1)
    assert broker.take(session, Want(1, 1)) is None


def test_a_job_that_is_named_twice_has_failed_once() -> None:
    """However often a report, or a list in it, says so."""
    broker = broker_with(range(10), retries=0)
    slave = enter(broker)
    lease = take(broker, slave, 5)
    failure = Failure(2, "ValueError", "bad", "")
    report = Report(lease.token, 2, (2, 2, 2), (failure,) * 9)
    settle(broker, lease, report)
    settle(broker, lease, report)

    assert counted(broker)[:2] == (3, 1)
    assert len(broker.collect().checkpoint.failed) == 1

    suspects = (3, 3, 3)
    settle(broker, lease, Report(lease.token, 3, failures=(failure,) * 2, end=ReportEnd.CRASHED, suspects=suspects))

    again = [batch for batch in broker.redelivery if batch.alone]
    assert [(batch.jobs, batch.crashes) for batch in again] == [([3], 1)]
    assert counted(broker)[:2] == (3, 1)
