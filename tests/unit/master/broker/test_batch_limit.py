"""How large a batch may become."""

from __future__ import annotations

from support.broker import broker_with, enter, take


def test_large_jobs_make_small_batches() -> None:
    """A batch is about 250 kB at most, and one job at least."""
    broker = broker_with(range(100))
    session = enter(broker)
    broker.batch_limit.note(100_000.0)

    assert len(take(broker, session, 50).batch.jobs) == 2

    broker.batch_limit.note(10_000_000.0)

    assert len(take(broker, session, 50).batch.jobs) == 1
