"""Which jobs are parked, and when they come back."""

from __future__ import annotations

from support.broker import broker_with, enter, fail, resumed, take
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.watermark import settled_range
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want


def test_parked_jobs_of_an_earlier_session_come_first() -> None:
    """One by one pickled, and settled without the watermark."""
    parked = [ParkedJob(4, "1", b"x", b"p"), ParkedJob(9, "2", b"y", b"q")]
    broker = Broker("i", Limits(), resumed("7", parked))
    broker.batch_limit.note(1.0)
    broker.intake.add(range(100))
    session = enter(broker, workers=1)
    lease = take(broker, session, 50)

    assert (lease.batch.jobs, lease.batch.separate) == (parked, True)

    settle(broker, lease, Report(lease.token, 1, failures=(Failure(0, "E", "", "", FailureKind.FINAL),)))

    assert broker.collect().checkpoint.unpark == [4]
    assert (len(broker.parking), broker.watermark.low, broker.settlement.failures) == (1, 0, 1)


def test_what_holds_the_watermark_back_is_parked() -> None:
    """When half the span is used up, the unsettled jobs below the settled ones are let pass."""
    broker = broker_with(range(10), span=20)
    session = enter(broker)
    slow = take(broker, session, 1)
    quick = take(broker, session, 100)
    while quick is not None:
        settle(broker, quick, Report(quick.token, len(quick.batch.jobs), end=ReportEnd.FINISHED))
        quick = broker.take(session, Want(1, 100))
    broker.intake.add(range(10, 14))
    quick = take(broker, session, 1)
    settle(broker, quick, Report(quick.token, len(quick.batch.jobs), end=ReportEnd.FINISHED))

    assert broker.relief.wanted() == [(0, 0, ())]

    broker.relief.park([(settled_range(0, [0], repr), 0, ParkedJob(-1, "0", b"0", b"f"))])

    assert broker.relief.wanted() == []
    assert broker.watermark.low == 11
    assert [job.key for job in broker.collect().checkpoint.park] == ["0"]
    assert not broker.finished

    settle(broker, slow, Report(slow.token, 1, end=ReportEnd.FINISHED))

    assert broker.collect().checkpoint.unpark == [0]
    assert broker.watermark.low == 11


def test_a_waiting_job_is_parked_with_its_attempts() -> None:
    """So that the watermark passes it, and a restart does not forget what was tried."""
    broker = broker_with(range(2), backoff=0.0)
    session = enter(broker)
    fail(broker, take(broker, session, 1))
    ((position, job, tried),) = broker.relief.wanted()

    assert (position, job, [attempt.message for attempt in tried]) == (0, 0, ["why"])

    broker.relief.park([(settled_range(0, [0], repr), 0, ParkedJob(-1, "0", b"x", b"f", tried))])

    assert broker.watermark.low == 1
    assert [(parked.id, parked.attempts) for parked in broker.collect().checkpoint.park] == [(0, tried)]
    assert broker.relief.wanted() == []

    broker.tick(1.0)
    fail(broker, take(broker, session, 1))
    ((_, _, tried),) = broker.relief.wanted()
    broker.relief.park([(settled_range(0, [0], repr), 0, ParkedJob(-1, "0", b"x", b"f", tried))])

    assert len(tried) == 2
    assert [parked.id for parked in broker.collect().checkpoint.park] == [0, 0]

    later = Broker("j", Limits(), resumed("0", [ParkedJob(0, "0", b"x", b"f", tried)]))
    again = take(later, enter(later), 5)

    assert again.batch.attempts == tried


def test_what_a_limit_leaves_parked_is_handed_out_when_the_limit_is_raised() -> None:
    """The run is not finished without it."""
    parked = [ParkedJob(number, str(number), b"x", b"p") for number in range(1, 6)]
    limits = Limits(limit=1)
    broker = Broker("i", limits, resumed("9", parked))
    broker.batch_limit.note(1.0)
    broker.intake.exhaust()
    slave = enter(broker, workers=1)
    done = []
    for limit in (3, None):
        broker.intake.allow_more(limit)
        limits.limit = limit
        while (lease := broker.take(slave, Want(1, 50, 50, ""))) is not None:
            done += [job.key for job in lease.batch.jobs]
            settle(broker, lease, Report(lease.token, len(lease.batch), end=ReportEnd.FINISHED))

        assert len(done) == (limit or 5)
        assert broker.finished == (limit is None)

    assert sorted(done) == ["1", "2", "3", "4", "5"]
    assert sorted(broker.collect().checkpoint.unpark) == [1, 2, 3, 4, 5]


def test_what_was_parked_goes_when_it_is_settled() -> None:
    """The record of the run would keep it, for as long as the run lasts."""
    parked = ParkedJob(4, "1", b"x", b"f")
    record = resumed("7", [parked])

    assert Broker("i", Limits(), record)._record.parked == ()
    assert not record.without_jobs().parked
    assert record.parked == [parked]
