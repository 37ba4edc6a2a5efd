"""When a slave exchanges: the schedule, with the time passed in."""

from __future__ import annotations

import pytest

from taskmaster.slave.exchange_schedule import FIRST_PROGRESS_SECONDS, HUNGRY_SECONDS, ExchangeSchedule

LEASE = 60.0


@pytest.fixture
def schedule() -> ExchangeSchedule:
    """A schedule whose first exchange went out at second 100, and asked for batches."""
    made = ExchangeSchedule()
    made.read(100.0)
    made.posted(100.0, asked=True)
    return made


def test_a_slave_that_got_a_batch_asks_again_at_once(schedule: ExchangeSchedule):
    """And reads progress as often as the master says."""
    assert not schedule.answered(100.1, 0.5, fed=True)

    assert schedule.may_ask(100.1)
    assert not schedule.reads_progress(100.4)
    assert schedule.reads_progress(100.5)
    assert schedule.until_next(100.1, LEASE, working=True, resting=False, free=False) == pytest.approx(0.4)


def test_a_slave_that_got_nothing_asks_when_it_is_told_to(schedule: ExchangeSchedule):
    """Its workers pass on what waits, once they have been hungry for a moment."""
    schedule.answered(100.0, 0.5, fed=True)
    assert not schedule.answered(100.0 + HUNGRY_SECONDS / 2, 8.0, fed=False)
    assert schedule.answered(100.0 + 2 * HUNGRY_SECONDS, 8.0, fed=False)

    assert not schedule.may_ask(107.0)
    assert schedule.may_ask(109.0)
    schedule.welcomed()
    assert schedule.may_ask(100.0), "another master knows nothing of that pause"


def test_an_answer_to_a_report_alone_says_when_to_report_again(schedule: ExchangeSchedule):
    """It does not put off asking."""
    schedule.posted(100.0, asked=False)

    assert not schedule.answered(100.0, 8.0, fed=False)

    assert schedule.may_ask(100.0)
    assert not schedule.reads_progress(100.0 + FIRST_PROGRESS_SECONDS)
    assert schedule.would_soon(104.0)


@pytest.mark.parametrize(("workers", "at"), [(64, 101.0), (7, 100.0)])
def test_a_slave_with_many_workers_asks_for_several_batches_at_once(schedule, workers: int, at: float):
    """At most so often that a batch is not delayed by more than an eighth of its time; at once for
    a worker that has none, and where there are few.
    """
    schedule.answered(100.0, 0.5, fed=True)
    schedule.gather(8.0, workers)

    assert schedule.may_ask(100.0)
    assert schedule.has_gathered(at, idle=False)
    assert not schedule.has_gathered(at - 0.01, idle=False)
    others = schedule.until_next(100.0, LEASE, working=False, resting=False, free=True, idle=False)
    assert others == pytest.approx(at - 100.0)


@pytest.mark.parametrize(("work", "patient"), [(0.5, False), (8.0, True)])
def test_a_worker_that_has_none_waits_for_the_others_where_a_fleet_is_very_large(schedule, work: float, patient: bool):
    """The master wants longer batches there. It could not answer each that asks for itself, and
    those are idle whom it has not answered yet.
    """
    schedule.gather(work, 64)
    schedule.posted(100.0, asked=True)
    schedule.answered(100.0, 5.0, fed=True)
    early, late = 100.0 + work / 10, 100.0 + work / 8

    assert schedule.has_gathered(early, idle=True) is not patient
    assert schedule.gathers(early, free=True, idle=True) is patient
    until = schedule.until_next(early, LEASE, working=False, resting=False, free=True, idle=True)
    assert (until > 0) is patient
    assert schedule.has_gathered(late, idle=True)
    assert schedule.until_next(late, LEASE, working=False, resting=False, free=True, idle=True) <= 0


@pytest.mark.parametrize("workers", [64, 7])
def test_ends_of_batches_are_gathered_while_no_worker_could_be_given_another_one_at_once(schedule, workers: int):
    """Every worker has one, or the master has none; a slave with few workers gathers nothing."""
    many = workers == 64
    schedule.gather(8.0, workers)
    schedule.posted(100.0, asked=True)
    schedule.answered(100.0, 5.0, fed=True)

    assert schedule.gathers(100.5, free=True, idle=False) is many
    assert not schedule.gathers(100.5, free=False, idle=False), "none is asked for, as at a slave's end"
    assert not schedule.gathers(101.0, free=True, idle=False)

    schedule.answered(100.0, 5.0, fed=False)

    assert schedule.gathers(100.5, free=True, idle=True) is many


def test_leases_are_renewed_long_before_they_end(schedule: ExchangeSchedule):
    """Also while nothing is to be said; a slave that holds nothing is in no hurry."""
    schedule.answered(100.0, 30.0, fed=True)

    assert not schedule.must_exchange(109.0, LEASE, working=True, resting=False)
    assert schedule.must_exchange(110.0, LEASE, working=True, resting=False)
    assert schedule.until_next(105.0, LEASE, working=False, resting=False, free=False) == pytest.approx(5.0)
