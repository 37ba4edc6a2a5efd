"""The pace of a run: probes and looks are made here by hand, as its threads make them."""

from __future__ import annotations

import logging

import pytest

from taskmaster.guards.guard import Unknown
from taskmaster.guards.pace import Pace
from taskmaster.master.throttle.pacing import Pacing


class Probe:
    """A probe that says what it is told to."""

    def __init__(self) -> None:
        self.said: list[float | Exception] = []
        self.asked = 0

    def __call__(self) -> float:
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def sessions(self) -> frozenset[int]:
        """Count how often it is asked for sessions."""
        self.asked += 1
        return frozenset()


def test_a_probe_that_fails_holds_the_run_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails for the same reason; one that is answered lets the run go on."""
    probe = Probe()
    pacing = Pacing(Pace("2x", probe), lambda: 0.0)
    probe.said = [Unknown("nobody listens"), Unknown("nobody listens"), OSError("odd"), 0.002]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            pacing.probe()

    assert [record.getMessage().rsplit(": ")[-1] for record in caplog.records] == ["nobody listens", "odd"]
    assert pacing.why() == "pace: the probe is not answered: OSError: odd"
    pacing.probe()
    assert pacing.why() == "pace: measuring the database without the run"


def test_sessions_are_looked_at_once_a_second() -> None:
    """They cost more than a probe."""
    probe, now = Probe(), 0.0
    pacing = Pacing(Pace("2x", probe), lambda: now)
    probe.said = [0.001] * 21
    for tick in range(21):
        now = tick / 10
        pacing.probe()

    assert probe.asked == 3
