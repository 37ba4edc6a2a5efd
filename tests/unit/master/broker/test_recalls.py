"""What is asked back for workers that have nothing to do."""

from __future__ import annotations

from support.broker import broker_with, enter, take

from taskmaster.model import Want


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
