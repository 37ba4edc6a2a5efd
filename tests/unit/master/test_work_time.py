"""The clocks of a session: what counts as work, and what as held back."""

from __future__ import annotations

from taskmaster.master.why import WhyCode
from taskmaster.master.work_time import WorkTime


def test_a_pause_is_no_working_time_and_a_throttle_is() -> None:
    """The rate with the waits of a guard in it is what the run will have."""
    clock = WorkTime(100.0)
    clock.note(110.0, WhyCode.WORKERS)
    clock.note(115.0, WhyCode.THROTTLED)
    clock.note(175.0, WhyCode.PAUSED, paused=True)
    clock.note(176.0, WhyCode.STATE)
    clock.note(178.0, WhyCode.REFUSED)

    assert clock.working(180.0) == 80.0 - 61.0
    assert clock.held == {"paused": 60.0, "state": 1.0, "throttled": 5.0, "rate": 0.0, "source": 0.0, "slaves": 2.0}


def test_a_clock_that_does_not_move_counts_nothing() -> None:
    """And never less than nothing."""
    clock = WorkTime(100.0)
    clock.note(100.0, WhyCode.PAUSED, paused=True)
    clock.note(99.0, WhyCode.PAUSED, paused=True)

    assert clock.working(100.0) == 0.0
    assert clock.idle == 0.0
