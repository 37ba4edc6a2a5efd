"""The pace of a run: probes and looks are made here by hand, as its threads make them."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest

from taskmaster.guards.guard import Unknown
from taskmaster.guards.pace import Pace
from taskmaster.master.throttle.pace_controller import FIRST_SHARE
from taskmaster.master.throttle.pacing import Pacing
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.model import Want


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


@pytest.mark.parametrize("given", [None, "0.002", math.nan, math.inf, -0.001, True])
def test_a_probe_that_gives_no_time_holds_the_run(given: Any) -> None:
    """It says so, and its threads go on: the next one may give one."""
    now, given_now = 0.0, given
    pacing = Pacing(Pace("2x", lambda: given_now), lambda: now)
    for tick in range(400):
        now, given_now = tick / 10, given if tick < 100 else 0.002
        pacing.probe()
        if tick == 99:
            assert (
                pacing.why() == f"pace: the probe is not answered: it gave {given!r} and not the seconds that it took"
            )
        pacing.step()

    assert pacing.why() == ""
    assert pacing.figures()["baseline_seconds"] == pytest.approx(0.002)


def test_a_job_that_takes_hours_does_not_keep_the_pace_of_the_others_down() -> None:
    """The one that is at work is all that may be, after others were hurt; when they are no longer,
    the next ones are handed out beside it.
    """
    now, felt = 0.0, 0.002
    pacing = Pacing(Pace("1.5x", lambda: felt), lambda: now)
    throttle, at_work = Throttle(clock=lambda: now, pacing=pacing), 0
    throttle.watch(lambda: (at_work, 8), lambda _: None)
    found = []
    for tick in range(3000):
        now, felt = tick / 10, 0.02 if 200 <= tick < 260 else 0.002
        pacing.probe()
        pacing.step()
        if tick == 200:
            at_work = 1  # from now on, and until the end
        if throttle.allow(Want(1, 1), now) is None:
            continue
        throttle.spend(1)
        found.append(now)

    assert found[-1] == pytest.approx(299.9)
    assert [one for one in found if 40 <= one < 60]


def test_a_run_that_waits_gets_no_faster_meanwhile() -> None:
    """That others feel nothing of a run without jobs says nothing of one that has them."""
    now = 0.0
    pacing = Pacing(Pace("1.5x", lambda: 0.002), lambda: now)
    Throttle(clock=lambda: now, pacing=pacing).watch(lambda: (0, 8), lambda _: None)
    for tick in range(1000):
        now = tick / 10
        pacing.probe()
        pacing.step()

    assert pacing.share == FIRST_SHARE


def test_a_pace_searches_until_the_room_is_used_and_while_it_measures() -> None:
    """At the start, and each time that it measures the database again; without one nothing does."""
    now, found = 0.0, []
    pacing = Pacing(Pace("1.5x", lambda: 0.001 + 0.002 * pacing.share), lambda: now)
    throttle = Throttle(pacing=pacing)
    throttle.watch(lambda: (0, 8), lambda _: None)
    for tick in range(4000):
        now = tick / 10
        throttle.spend(1)
        pacing.probe()
        pacing.step()
        if not found or found[-1] is not throttle.searches:
            found.append(throttle.searches)

    assert found[:4] == [True, False, True, False]
    assert not Throttle().searches
