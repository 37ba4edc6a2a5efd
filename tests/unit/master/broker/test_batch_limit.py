"""How large a batch may become."""

from __future__ import annotations

from support.broker import broker_with, enter, take

from taskmaster.master.broker.slaves import Quieted


def test_large_jobs_make_small_batches() -> None:
    """A batch is about 250 kB at most, and one job at least."""
    broker = broker_with(range(100))
    session = enter(broker)
    broker.batch_limit.note(100_000.0)

    assert len(take(broker, session, 50).batch.jobs) == 2

    broker.batch_limit.note(10_000_000.0)

    assert len(take(broker, session, 50).batch.jobs) == 1


def test_quiet_slaves_share_in_nothing() -> None:
    """What waits, and what a pace lets work at once, is for the workers that are given jobs: also
    when a quiet slave comes back, gets jobs again, or goes.
    """
    broker = broker_with(range(120))
    slaves, one, other = broker.slaves, enter(broker, "one"), enter(broker, "other", 10)
    assert slaves.fed_workers == 12
    slaves.silence("other", Quieted("other", ends=False))
    assert slaves.fed_workers == 2
    assert slaves.workers == 12
    assert len(take(broker, one, 100).batch.jobs) == 60
    other = enter(broker, "other", 10)
    assert other.quiet
    assert slaves.fed_workers == 2
    slaves.silence("other", None)
    assert slaves.fed_workers == 12
    slaves.silence("other", Quieted("other", ends=True))
    slaves.drop("other")
    slaves.drop("one")
    assert (slaves.fed_workers, slaves.fed_slots, slaves.workers, slaves.slots) == (0, 0, 0, 0)
