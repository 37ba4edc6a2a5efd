"""What a probe says without a run; the probe is played, and so is the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskmaster.guards.guard import Unknown
from taskmaster.guards.probe_report import ProbeReport


class Played:
    """A probe that takes 2 ms, of a server that others work on; the time passes by waiting."""

    def __init__(
        self, answer: Callable[[], float] = lambda: 0.002, sessions: frozenset[int] | None = frozenset({7})
    ) -> None:
        self.now = 0.0
        self.answer = answer
        self.found = sessions
        self.reads_only = False

    def __call__(self) -> float:
        return self.answer()

    def sessions(self) -> frozenset[int] | None:
        """Give what was found."""
        return self.found

    def report(self) -> ProbeReport:
        """Make a report of it."""

        def wait(seconds: float) -> None:
            self.now += seconds

        return ProbeReport(self, lambda: self.now, wait)


def test_it_says_what_limits_would_allow() -> None:
    """After a line for each second."""
    report = Played().report()

    lines = list(report.lines(3))

    assert lines == ["median 2 ms, p95 2 ms; 1 session of others at work"] * len(lines)
    assert 3 <= len(lines) <= 4
    said = "--pace=1.5x would keep the median below 3 ms, and p95 below 3 ms."
    assert said in report.summary()
    assert report.beginning(3, own=False).startswith("A transaction that reads one row, 8 times a second for 3 s")
    assert report.as_json()["median"] == 0.002


def test_a_server_that_does_not_answer_is_no_zero() -> None:
    """There is no figure, but what it said."""

    def nobody() -> float:
        raise Unknown("nobody listens")

    report = Played(nobody).report()

    assert set(report.lines(2)) == {"no answer: nobody listens"}
    assert report.summary() == ["The server has answered nothing: nobody listens."]
    assert report.as_json()["median"] is None


@pytest.mark.parametrize(("hidden", "reads_only"), [(True, False), (False, True)])
def test_what_the_probe_cannot_see_is_said(hidden: bool, reads_only: bool) -> None:
    """With what cures it, where something does."""
    probe = Played(sessions=None if hidden else frozenset())
    probe.reads_only = reads_only
    report = probe.report()
    list(report.lines(1))

    text = " ".join(report.summary())
    assert ("GRANT pg_monitor" in text) is hidden
    assert ("Nothing can be committed" in text) is reads_only
