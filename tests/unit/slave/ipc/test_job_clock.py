"""How long jobs have run, by a clock that stands still while the slave does."""

from __future__ import annotations

from taskmaster.slave.ipc.job_clock import STANDSTILL_SECONDS, JobClock


def test_a_job_is_timed_from_its_first_sight() -> None:
    """While it is seen to run; another in its place begins anew."""
    clock = JobClock(0.0)
    clock.note(["a"], 0.5)
    clock.note(["a", "b"], 1.0)
    clock.note(["a", "b"], 1.5)

    assert (clock.seconds("a"), clock.seconds("b"), clock.seconds("c")) == (1.0, 0.5, 0.0)

    clock.note(["b"], 2.0)
    clock.note(["a", "b"], 2.5)

    assert (clock.seconds("a"), clock.seconds("b")) == (0.0, 1.5)


def test_a_standstill_is_nobodys_time() -> None:
    """A slave that was suspended for an hour has not run its jobs for an hour."""
    clock = JobClock(0.0)
    clock.note(["a"], 0.25)
    clock.note(["a"], 3600.0)

    assert clock.seconds("a") == STANDSTILL_SECONDS
