"""What becomes of jobs whose worker or slave was lost: whom it is charged, and who gets them."""

from __future__ import annotations

from support.broker import broker_with, enter, fail, take
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.model import Failure, Report, ReportEnd, Want

FAILED = FailedJob(1, "1", "1", b"", (Attempt(0.0, "s", "ValueError", "bad", ""),))


def test_a_crash_is_charged_to_the_job_that_ran() -> None:
    """The others of its batch go on at once; it comes last, alone, and fails at the third crash."""
    broker = broker_with(range(4))
    session = enter(broker, workers=1)
    broker.batch_limit.size = lambda session, want, waiting: min(want.jobs, 100)  # type: ignore[method-assign]  # one batch of all
    lease = take(broker, session, 4)
    settle(broker, lease, Report(lease.token, 1, end=ReportEnd.CRASHED, suspects=(1,), detail="killed"))

    assert take(broker, session, 10).batch.jobs == [2, 3]

    suspect = take(broker, session, 10).batch

    assert (suspect.jobs, suspect.alone, suspect.crashes) == ([1], True, 1)


def test_a_job_that_kills_three_workers_is_failed() -> None:
    """And only that one."""
    broker = broker_with(range(3))
    session = enter(broker, workers=1)
    crashes = 0
    done: list[int] = []
    for _ in range(20):
        lease = broker.take(session, Want(1, 10))
        if lease is None:
            break
        jobs = lease.batch.jobs
        if 1 in jobs:
            at = jobs.index(1)
            crashes += 1
            settle(broker, lease, Report(lease.token, at, end=ReportEnd.CRASHED, suspects=(at,)))
            done += jobs[:at]
        else:
            settle(broker, lease, Report(lease.token, len(jobs), end=ReportEnd.FINISHED))
            done += jobs

    assert crashes == 3
    assert sorted(done) == [0, 2]
    assert (broker.settlement.settled, broker.settlement.failures, broker.watermark.low) == (3, 1, 3)


def test_of_several_suspects_none_is_charged() -> None:
    """When several jobs ran in the worker that died, each is run again alone."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 4)
    settle(broker, lease, Report(lease.token, 0, end=ReportEnd.CRASHED, suspects=(0, 2)))

    assert [(s.jobs, s.alone, s.crashes) for s in broker.redelivery._returned] == [
        ([1], False, 0),
        ([3], False, 0),
        ([0], True, 0),
        ([2], True, 0),
    ]


def test_a_silent_slave_loses_its_jobs() -> None:
    """After the lease, not before; and somebody else gets exactly what it had not reported."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 5)
    settle(broker, lease, Report(lease.token, 2))
    for now in range(0, 60, 5):
        assert broker.tick(float(now)) == []

    assert broker.tick(60.5) == ["s"]

    other = enter(broker, "t")

    assert take(broker, other, 5).batch.jobs == [2, 3, 4]


def test_a_closed_connection_has_a_short_grace() -> None:
    """A slave that comes back within it keeps its jobs."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 5)
    broker.tick(10.0)
    broker.slaves.closed(session.id, 10.0)
    back = enter(broker, held=[lease.token])
    broker.tick(11.0)
    broker.tick(12.0)
    broker.tick(13.0)

    assert broker.leases.held_as(back, lease.token) is lease

    broker.slaves.closed(back.id, 13.0)
    broker.tick(14.0)
    broker.tick(15.0)

    assert broker.tick(15.9) == ["s"]


def test_a_batch_whose_answer_was_lost_is_handed_out_again() -> None:
    """A slave that says hello again without a batch never got it."""
    broker = broker_with(range(40))
    session = enter(broker)
    take(broker, session, 5)
    back = enter(broker, held=[])

    assert take(broker, back, 5).batch.jobs == [0, 1, 2, 3, 4]


def test_after_a_standstill_every_lease_has_a_fresh_term() -> None:
    """A master that was suspended blames nobody for the silence."""
    broker = broker_with(range(40))
    session = enter(broker)
    take(broker, session, 5)
    broker.tick(1.0)

    assert broker.tick(1000.0) == []
    assert broker.tick(1005.0) == []


def test_a_job_that_takes_its_slave_down_is_found_by_halving() -> None:
    """Innocent neighbours are run; it is set aside after enough slaves were lost with it alone."""
    broker = broker_with(range(8))
    guilty, done = 5, []
    for number in range(200):
        session = enter(broker, f"s{number}", workers=1)
        while (lease := broker.take(session, Want(1, 8))) is not None:
            if guilty in lease.batch.jobs:
                broker.redelivery.lose(session)
                break
            settle(broker, lease, Report(lease.token, len(lease.batch.jobs), end=ReportEnd.FINISHED))
            done += lease.batch.jobs
        else:
            break

    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7]
    assert [batch.jobs for batch in broker.redelivery.doomed] == [[guilty]]
    assert not broker.finished

    broker.intake.exhaust()
    broker.settlement.fail(broker.redelivery.doomed[0], FAILED)

    assert broker.finished


def test_jobs_of_one_call_are_tried_together_once_more_and_then_halved() -> None:
    """Only who fails alone is charged; the others are run."""
    broker = broker_with(range(8), backoff=0.0)
    broker.batch_limit.size = lambda session, want, waiting: 8  # type: ignore[method-assign]
    session = enter(broker, workers=1)
    sizes, done = [], []
    for now in range(40):
        broker.tick(float(now))
        session.renewed = now
        lease = broker.take(session, Want(1, 8))
        if lease is None:
            continue
        jobs = lease.batch.jobs
        if 5 not in jobs:
            settle(broker, lease, Report(lease.token, len(jobs), end=ReportEnd.FINISHED))
            done += jobs
        elif len(jobs) > 1:
            sizes.append(len(jobs))
            everyone = tuple(range(len(jobs)))
            failure = (Failure(0, "E", "", ""),)
            settle(
                broker,
                lease,
                Report(lease.token, 0, (), failure, end=ReportEnd.RAISED, suspects=everyone, together=True),
            )
        else:
            fail(broker, lease)

    assert sizes == [8, 8, 4, 2]
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7]
    assert (broker.settlement.failures, broker.settlement.settled, broker.watermark.low) == (1, 8, 8)
    assert len(broker.collect().checkpoint.failed) == 1


def test_neighbours_of_a_job_that_takes_its_slave_down_are_not_charged() -> None:
    """However many batches the slave holds: it ends up with ever fewer at once, at last with the
    guilty one alone.
    """
    broker = broker_with(range(64))
    broker.batch_limit.size = lambda session, want, waiting: 1  # type: ignore[method-assign]
    guilty, done, company = 5, [], []
    for number in range(100):
        session = enter(broker, f"s{number}", workers=8)
        while (lease := broker.take(session, Want(1, 1))) is not None:
            pass
        held = [broker.leases[token] for token in session.leases]
        if any(lease.batch.jobs == [guilty] for lease in held):
            company.append(len(held))
            broker.redelivery.lose(session)
        else:
            for lease in held:
                settle(broker, lease, Report(lease.token, 1, end=ReportEnd.FINISHED))
                done += lease.batch.jobs
            broker.leave(session)

    assert company == [16, 16, 8, 4, 2, 1, 1, 1, 1, 1]
    assert [batch.jobs for batch in broker.redelivery.doomed] == [[guilty]]
    assert sorted(done) == sorted(set(range(64)) - {guilty})


def take_all(broker: Broker, slave: ConnectedSlave) -> list[Lease]:
    """Take as many batches of one job as the slave has workers, and may have."""
    leases = list(broker.leases.held_by(slave))
    while len(leases) < slave.workers and (lease := broker.take(slave, Want(1, 1))) is not None:
        leases.append(lease)
    return leases


def kill_together(broker: Broker, leases: list[Lease]) -> None:
    """All workers of the slave are killed while each runs the first job of its batch."""
    for lease in leases:
        report = Report(lease.token, 0, end=ReportEnd.LOST, suspects=(0,), detail="killed", beside=len(leases))
        settle(broker, lease, report)


def test_jobs_whose_workers_were_all_killed_at_once_are_not_charged() -> None:
    """Again and again, as an out-of-memory killer does it that takes the process which forks
    them: it was none of their doing.
    """
    broker = broker_with(range(6))
    slave = enter(broker, workers=3)
    for _ in range(6):
        kill_together(broker, take_all(broker, slave))
    done = []
    for _ in range(20):
        for lease in take_all(broker, slave):
            assert lease.batch.crashes == 0

            settle(broker, lease, Report(lease.token, 1, end=ReportEnd.FINISHED))
            done += lease.batch.jobs

    assert sorted(done) == list(range(6))
    assert (broker.settlement.settled, broker.settlement.failures) == (6, 0)
    assert broker.redelivery.doomed == []


def test_a_job_that_kills_all_workers_at_once_is_found() -> None:
    """It is handed out in ever smaller company, until it is alone; the others are done meanwhile,
    and not one of them is charged.
    """
    broker = broker_with(range(20))
    slave = enter(broker, workers=3)
    done: list[int] = []
    for _ in range(200):
        leases = take_all(broker, slave)
        if any(lease.batch.jobs == [7] for lease in leases):
            kill_together(broker, leases)
            continue
        for lease in leases:
            settle(broker, lease, Report(lease.token, 1, end=ReportEnd.FINISHED))
            done += lease.batch.jobs

    assert sorted(done) == [number for number in range(20) if number != 7]
    assert [batch.jobs for batch in broker.redelivery.doomed] == [[7]]
    assert broker.redelivery.doomed[0].solo == broker.limits.losses
