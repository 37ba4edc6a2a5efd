"""When and where a failed job is tried again."""

from __future__ import annotations

from support.broker import broker_with, counted, enter, fail, take
from support.master import settle

from taskmaster.model import Report, ReportEnd, Want


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
    next(iter(broker.redelivery)).due = 115.0

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
