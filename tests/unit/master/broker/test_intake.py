"""How much is read."""

from __future__ import annotations

from support.broker import broker_with, enter, take
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.model import Failure, Report, ReportEnd


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


def test_where_what_is_to_be_tried_again_fills_the_size_nothing_is_read() -> None:
    """Which is something else than a source that gives no jobs; one that has ended has no more."""
    broker = broker_with(range(2), size=2, retries=3)
    assert not broker.intake.crowded
    lease = take(broker, enter(broker, workers=1), 2)
    failures = tuple(Failure(index, "KeyError", "x", "") for index in range(2))

    settle(broker, lease, Report(lease.token, 2, failures=failures, keep=2, end=ReportEnd.FINISHED))

    assert broker.counts().waiting
    assert broker.intake.room() == 0
    assert broker.intake.crowded
    broker.intake.exhaust()
    assert not broker.intake.crowded


def test_the_span_follows_what_slaves_hold() -> None:
    """And have lost; only where nobody has said how large it may be."""
    for follows, limit in ((True, 4 * 20), (False, 30)):
        broker = broker_with(range(25), span=30, size=100, span_follows=follows)
        slave = enter(broker, workers=10)
        for _ in range(20):
            take(broker, slave, 1)

        assert broker.intake.span_limit == limit
        assert broker.intake.room() == min(limit - 25, 95)

        broker.redelivery.lose(slave)

        assert broker.intake.span_limit == limit


def test_as_much_is_planned_as_there_are_slots() -> None:
    """However many slaves there are; what is planned and not written down yet counts."""
    broker = Broker("i", Limits(size=10, span_follows=True))

    assert broker.intake.plan_room(1) == 4
    assert broker.intake.plan_room(1000) == 2002
    assert Broker("i", Limits(size=10)).intake.plan_room(1000) == 10
