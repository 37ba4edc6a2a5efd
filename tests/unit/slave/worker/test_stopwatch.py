"""A clock that no test which a callback runs can stand still."""

from __future__ import annotations

import time

import pytest

from taskmaster.slave.worker import stopwatch


def test_a_replaced_function_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freezegun puts its own under each name of that function, and leaves other objects alone."""
    began = stopwatch.CLOCK()
    monkeypatch.setattr(time, "perf_counter", lambda: 1.3e9)

    assert stopwatch.CLOCK is not time.perf_counter
    assert 0.0 <= stopwatch.since(began) < 1e6


def test_a_time_that_cannot_be_is_none() -> None:
    """A master refuses it, and with it the report of a batch that was done."""
    assert stopwatch.since(stopwatch.CLOCK() + 1e6) == 0.0
    assert stopwatch.since(-2e9) == 0.0
