"""What a slave keeps that was away."""

from __future__ import annotations

from support.broker import broker_with, enter, resumed, take
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.takeover import TRIED_BITS
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.model import Report, ReportEnd, Want


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
    assert now.takeover.reclaim(enter(now), ticket << TRIED_BITS) is None
    assert then.takeover.reclaim(enter(then), ticket << TRIED_BITS) is not None


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
    new = broker.takeover.reclaim(back, ticket << TRIED_BITS)

    assert new is not None
    assert broker.takeover.reclaim(back, ticket << TRIED_BITS) is None
    assert broker.takeover.reclaim(back, ticket + 1 << TRIED_BITS) is None

    again = enter(broker, held=[lease.token, new])

    assert broker.leases.held_as(again, lease.token) is None
    assert broker.leases.held_as(again, new) is not None


def test_a_slave_that_was_away_hears_of_the_ticket_that_it_did_not_have_yet() -> None:
    """And of the jobs that were to be asked back."""
    broker = broker_with(range(10))
    session = enter(broker, workers=1)
    broker.batch_limit.size = lambda session, want, waiting: 2  # type: ignore[method-assign]
    lease = take(broker, session, 2)
    settle(broker, lease, Report(lease.token, 0, keep=2, long=(0,)))
    broker.recalls.ask_back(all_unstarted=True)
    broker.redelivery.lose(session)
    back = enter(broker, held=[lease.token])
    broker.parking.add(0, ParkedJob(0, "0", b"x", b"f"))
    broker.parking.written([ParkedJob(0, "0", b"x", b"f")], [])

    ticket = broker.parking.ticket(0)
    assert ticket is not None
    assert broker.takeover.tickets(back) == ((lease.token, 0, ticket << TRIED_BITS),)
    assert broker.takeover.tickets(back) == ()
    assert broker.recalls.of(back) == ((lease.token, 1),)


def test_a_job_that_is_parked_is_named_when_it_is_handed_out() -> None:
    """Once, and only where it is alone in its batch: many short ones are soon handed out again."""
    broker = Broker("i", Limits(), resumed("9", [ParkedJob(at, str(at), b"x", bytes([at] * 16)) for at in range(99)]))
    broker.batch_limit.note(1.0)
    slave = enter(broker)
    alone, several = take(broker, slave, 1), take(broker, slave, 3)
    for lease in (alone, several):
        broker.takeover.lent(slave, lease)

    assert [(token, index) for token, index, _ in broker.takeover.tickets(slave)] == [(alone.token, 0)]
    assert broker.takeover.tickets(slave) == ()


def test_a_job_that_is_not_parked_is_not_named() -> None:
    """Nothing is written down for each of a billion rows."""
    broker = broker_with(range(3))
    slave = enter(broker)
    broker.takeover.lent(slave, take(broker, slave, 1))

    assert broker.takeover.tickets(slave) == ()


def test_jobs_are_kept_for_their_slaves_while_these_come_back() -> None:
    """Those of a large fleet need longer than one slave is given; but not for ever."""
    broker = Broker("i", Limits(reclaim=5.0), resumed("9", [ParkedJob(at, str(at), b"x", b"f") for at in range(99)]))
    slave = enter(broker, workers=99)
    broker.tick(0.0)
    now, taken = 0.0, 0
    while broker.take(slave, Want(1, 1)) is None:
        ticket = broker.parking.ticket(taken - 99)
        assert ticket is not None
        assert broker.takeover.reclaim(slave, ticket << TRIED_BITS) is not None
        now, taken = now + 4.0, taken + 1
        broker.tick(now)

    assert (now, taken) == (60.0, 15)


def test_an_attempt_of_which_the_master_knows_that_it_failed_is_not_taken_over() -> None:
    """The answer to its report was lost: the slave still has it. The attempt would count twice."""
    broker = Broker("i", Limits(), resumed("9", [ParkedJob(4, "1", b"x", b"f")]))
    slave = enter(broker)

    def crash() -> int:
        lease = take(broker, slave, 1)
        broker.takeover.lent(slave, lease)
        ((_, _, number),) = broker.takeover.tickets(slave)
        settle(broker, lease, Report(lease.token, 0, end=ReportEnd.CRASHED, suspects=(0,), detail="killed"))
        return number

    first = crash()

    assert broker.redelivery.jobs == 1
    assert broker.takeover.reclaim(slave, first) is None

    lease = take(broker, slave, 1)
    broker.takeover.lent(slave, lease)
    ((_, _, second),) = broker.takeover.tickets(slave)
    broker.redelivery.release(lease)

    assert broker.takeover.reclaim(slave, first) is None
    assert broker.takeover.reclaim(slave, second) is not None
