"""How much is read."""

from __future__ import annotations

from support.broker import broker_with, enter, take
from support.master import settle

from taskmaster.model import Report, ReportEnd


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
