"""The broker's books, one rule a test; thousands of rules at once are in tests/simulation."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from support.master import settle

from taskmaster.master.broker.batches import contiguous
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.leases import Lease
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.watermark import SettledRange, settled_range
from taskmaster.master.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.run_record import RunRecord
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want

FAILED = FailedJob(1, "1", "1", b"", (Attempt(0.0, "s", "ValueError", "bad", ""),))


def broker_with(jobs: Collection[int], **limits: int) -> Broker:
    broker = Broker("i", Limits(**limits))
    broker.intake.add(jobs)
    broker.batch_limit.note(1.0)
    return broker


def enter(broker: Broker, name: str = "s", workers: int = 2, held: Collection[str] = ()) -> ConnectedSlave:
    session = ConnectedSlave(name, name, workers, workers, 0.0)
    broker.enter(session, held)
    return session


def take(broker: Broker, session: ConnectedSlave, count: int) -> Lease:
    lease = broker.take(session, Want(1, count))
    assert lease is not None
    return lease


def resumed(mark: str, parked: list[ParkedJob]) -> RunRecord:
    """A run with parked jobs."""
    return RunRecord("run", resumed=True, mark=mark, parked=parked)


def counted(broker: Broker) -> tuple[int, int, int, int]:
    """Settled, failed and waiting jobs, and the watermark."""
    counts = broker.counts()
    return counts.settled, counts.failed, counts.waiting, broker.watermark.low


def test_ranges_are_contiguous() -> None:
    """Indices that follow each other become one range."""
    assert contiguous([]) == []
    assert contiguous([3]) == [(3, 4)]
    assert contiguous([0, 1, 2, 4, 5, 9]) == [(0, 3), (4, 6), (9, 10)]


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


def test_large_jobs_make_small_batches() -> None:
    """A batch is about 250 kB at most, and one job at least."""
    broker = broker_with(range(100))
    session = enter(broker)
    broker.batch_limit.note(100_000.0)

    assert len(take(broker, session, 50).batch.jobs) == 2

    broker.batch_limit.note(10_000_000.0)

    assert len(take(broker, session, 50).batch.jobs) == 1


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


def test_a_slave_that_was_given_up_keeps_what_nobody_else_was_given() -> None:
    """Its late hello brings the lease back to life; once a job of it was handed out again, it does
    not.
    """
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 5)
    broker.redelivery.lose(session)
    back = enter(broker, held=[lease.token])

    assert broker.leases.held_as(back, lease.token) is lease
    assert broker.redelivery.jobs == 0

    broker.redelivery.lose(back)
    other = enter(broker, "t")
    take(broker, other, 1)
    back = enter(broker, held=[lease.token])

    assert broker.leases.held_as(back, lease.token) is None


def test_a_ticket_names_the_job_and_not_only_its_id() -> None:
    """When all that was parked is settled, the ids begin again: a slave that was away must not be
    given another job.
    """
    then = Broker("i", Limits(), resumed("7", [ParkedJob(4, "1", b"x", b"f")]))
    now = Broker("j", Limits(), resumed("8", [ParkedJob(4, "2", b"y", b"g")]))
    ticket = then.parking.ticket(-1)

    assert ticket is not None
    assert now.takeover.reclaim(enter(now), ticket) is None


def test_a_slave_that_was_away_and_came_back_has_not_been_lost() -> None:
    """However often: what it was running the whole time is not held against the job."""
    broker = broker_with(range(1), losses=2)
    session = enter(broker)
    lease = take(broker, session, 1)
    for _ in range(10):
        broker.redelivery.lose(session)
        session = enter(broker, held=[lease.token])

    assert broker.redelivery.doomed == []
    assert broker.leases.held_as(session, lease.token) is lease

    for name in "tu":
        broker.redelivery.lose(session)
        session = enter(broker, name)
        lease = broker.take(session, Want(1, 1)) or lease

    assert len(broker.redelivery.doomed) == 1


def test_a_batch_whose_answer_was_lost_is_handed_out_again() -> None:
    """A slave that says hello again without a batch never got it."""
    broker = broker_with(range(40))
    session = enter(broker)
    take(broker, session, 5)
    back = enter(broker, held=[])

    assert take(broker, back, 5).batch.jobs == [0, 1, 2, 3, 4]


def test_an_answer_to_an_old_connection_carries_no_jobs() -> None:
    """It would not arrive."""
    broker = broker_with(range(40))
    old = enter(broker)
    enter(broker)

    assert broker.take(old, Want(1, 5)) is None


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


@pytest.mark.parametrize("reason", ["draining", "paused"])
def test_nothing_is_handed_out_while_the_run_rests(reason: str) -> None:
    """Reports still count."""
    broker = broker_with(range(40))
    session = enter(broker)
    lease = take(broker, session, 2)
    setattr(broker, reason, True)

    assert broker.take(session, Want(1, 2)) is None
    assert settle(broker, lease, Report(lease.token, 2, end=ReportEnd.FINISHED))


def test_room_is_bounded_by_size_and_span() -> None:
    """Queued, returned and parked jobs count towards the size; what the watermark has not passed
    towards the span.
    """
    broker = broker_with(range(6), size=10, span=12)
    session = enter(broker)

    assert broker.intake.room() == 4

    lease = take(broker, session, 1)

    assert broker.intake.room() == 5

    broker.intake.add(range(4))

    assert broker.intake.room() == 1

    settle(broker, lease, Report(lease.token, 0, end=ReportEnd.DROPPED))

    assert broker.intake.room() == 0


def test_an_idle_worker_gets_half_of_what_another_has_not_started() -> None:
    """Only when nothing is queued; the job that may be running stays."""
    broker = broker_with(range(8))
    busy = enter(broker, "busy", workers=1)
    broker.batch_limit.size = lambda session, want, waiting: min(want.jobs, 100)  # type: ignore[method-assign]
    lease = take(broker, busy, 8)
    idle = enter(broker, "idle", workers=1)

    assert broker.take(idle, Want(1, 8)) is None

    broker.recalls.starve(idle)

    assert broker.recalls.of(busy) == ((lease.token, 4),)
    assert broker.recalls.of(busy) == ()


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


# -- attempts --------------------------------------------------------------------------------------


def fail(broker: Broker, lease: Lease, kind: str = "error", after: float = -1.0) -> None:
    """The first job of the batch fails, the others go well."""
    count = len(lease.batch.jobs)
    failure = Failure(0, "E", "why", "", FailureKind(kind), after, 77)
    settle(broker, lease, Report(lease.token, count, failures=(failure,), end=ReportEnd.FINISHED))


def test_a_failed_job_waits_without_a_slot_and_comes_again() -> None:
    """With what was tried, elsewhere if there is an elsewhere; it is not settled meanwhile."""
    broker = broker_with(range(2), backoff=10.0, lease=1000)
    broker.tick(100.0)
    one, other = enter(broker, "one", workers=1), enter(broker, "other", workers=1)
    broker.batch_limit.size = lambda session, want, waiting: 2  # type: ignore[method-assign]
    fail(broker, take(broker, one, 2))

    assert counted(broker) == (1, 0, 1, 0)
    assert broker.take(one, Want(1, 5)) is None
    assert not broker.at_rest

    broker.tick(104.0)

    assert broker.take(other, Want(1, 5)) is None

    broker.tick(115.0)
    broker.redelivery._returned[0].due = 115.0

    assert broker.take(one, Want(1, 5)) is None

    again = take(broker, other, 5)

    assert again.batch.jobs == [0]
    assert [attempt.message for attempt in again.batch.attempts] == ["why"]

    settle(broker, again, Report(again.token, 1, end=ReportEnd.FINISHED))

    assert counted(broker) == (2, 0, 0, 2)


def test_where_there_is_no_elsewhere_it_comes_to_the_same_slave() -> None:
    """Which is told which of its workers failed."""
    broker = broker_with(range(1), backoff=0.0)
    session = enter(broker)
    fail(broker, take(broker, session, 1))
    broker.tick(1.0)
    again = take(broker, session, 1).batch

    assert (again.avoid, again.worker) == (session.id, 77)


def test_retry_after_is_kept_to() -> None:
    """Not spread, not doubled."""
    broker = broker_with(range(1))
    broker.tick(1.0)
    session = enter(broker)
    fail(broker, take(broker, session, 1), "retry", after=30.0)
    session.renewed = 1000.0
    broker.tick(30.9)

    assert broker.take(session, Want(1, 1)) is None

    broker.tick(31.0)

    assert take(broker, session, 1).batch.jobs == [0]


def test_after_the_last_retry_a_job_has_failed() -> None:
    """Four executions, and one record."""
    broker = broker_with(range(1), backoff=0.0)
    session = enter(broker)
    for execution in range(4):
        broker.tick(float(execution))
        fail(broker, take(broker, session, 1))

    assert counted(broker) == (1, 1, 0, 1)
    assert len(broker.collect().checkpoint.failed) == 1


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


def test_what_was_taken_over_does_not_come_back_with_its_old_lease() -> None:
    """A slave that was given up shows a ticket for one of its jobs: the lease of the whole batch is
    gone for good.
    """
    parked = ParkedJob(4, "1", b"x", b"f")
    broker = Broker("i", Limits(), resumed("7", [parked]))
    broker.intake.add(range(10))
    session = enter(broker)
    lease = take(broker, session, 1)
    ticket = broker.parking.ticket(-1)

    assert lease.batch.jobs == [parked]
    assert ticket is not None

    broker.redelivery.lose(session)
    back = enter(broker)
    new = broker.takeover.reclaim(back, ticket)

    assert new is not None
    assert broker.takeover.reclaim(back, ticket) is None
    assert broker.takeover.reclaim(back, ticket + 1) is None

    again = enter(broker, held=[lease.token, new])

    assert broker.leases.held_as(again, lease.token) is None
    assert broker.leases.held_as(again, new) is not None


def lists_of(jobs: Collection[int], bad: Collection[int], record: RunRecord | None = None, **limits: float) -> Broker:
    """Run a callback that gets lists of fifty, and raises where one of them is bad, until the run
    is over or has to stop.
    """
    broker = Broker("i", Limits(backoff=0.01, **limits), record)  # type: ignore[arg-type]
    broker.intake.add(jobs)
    broker.intake.exhaust()
    broker.batch_limit.note(1.0)
    slave = enter(broker, workers=3)
    for step in range(100_000):
        if broker.over or broker.settlement.stop:
            return broker
        slave.renewed = now = step * 0.01
        broker.tick(now)
        lease = broker.take(slave, Want(1, 50, 50))
        if lease is None:
            continue
        count = len(lease.batch)
        failure = (Failure(0, "ValueError", "bad row", ""),)
        report = Report(lease.token, count, end=ReportEnd.FINISHED)
        if any(job in bad for job in lease.batch.jobs):
            report = Report(
                lease.token, 0, (), failure, end=ReportEnd.RAISED, suspects=tuple(range(count)), together=True
            )
            if count == 1:
                report = Report(lease.token, 1, failures=failure, end=ReportEnd.FINISHED)
        settle(broker, lease, report)
    raise AssertionError(f"the run does not end: {broker.counts()}")


@pytest.mark.parametrize("limits", [{}, {"max_share": 0.1}])
def test_lists_with_bad_rows_do_not_stop_a_run_that_gets_on(limits: dict[str, float]) -> None:
    """Every list that a resumed session has left over holds a bad row: that is no reason to stop,
    for none of the rules.
    """
    jobs = range(3000)
    bad = [job for job in jobs if job % 50 == 7]

    broker = lists_of(jobs, bad, RunRecord("run", resumed=True, settled=5000, failures=250), **limits)

    assert (broker.settlement.stop, broker.finished) == ("", True)
    assert (broker.settlement.settled, broker.settlement.failures) == (3000, 60)


def test_lists_that_all_fail_stop_the_run_soon() -> None:
    """A call of several jobs says nothing of one of them, so that single ones are tried at once."""
    calls = lists_of(range(10_000), range(10_000))

    assert "all of the first 30 attempts have failed" in calls.settlement.stop
    assert calls.leases.lent < 600


def test_jobs_that_earlier_sessions_settled_count_as_gone_well() -> None:
    """What such a session has left over are the bad ones, and those around them."""
    broker = Broker("i", Limits(max_share=0.1, retries=0))
    for number in range(1000):
        if number % 20:
            at = broker.intake.read
            broker.intake.add_known(number, SettledRange(at, at + 1, str(number), 1, None, 0, [number], b"p" * 16))
        else:
            broker.intake.add([number])
    slave = enter(broker)
    while (lease := broker.take(slave, Want(1, 1))) is not None:
        fail(broker, lease, "final")

    assert (broker.settlement.stop, broker.settlement.failures, broker.intake.known) == ("", 50, 950)


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
