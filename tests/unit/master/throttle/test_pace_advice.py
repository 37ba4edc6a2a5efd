"""What is said of a pace that the database misses without the run."""

from __future__ import annotations

import pytest

from taskmaster.guards.pace import Pace
from taskmaster.master.throttle.pacing import Pacing


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("5ms", "without the run 26 % of probes are above 5 ms already: choose --pace=20ms or more, or 1.5x"),
        ("0.1ms", "without the run 100 % of probes are above 0.1 ms already: choose --pace=20ms or more, or 1.5x"),
        ("20ms", ""),
        ("1.5x", ""),
    ],
)
def test_a_limit_that_the_database_misses_by_itself_is_named(
    caplog: pytest.LogCaptureFixture, limit: str, said: str
) -> None:
    """Once in the log, and in the sentence: with a slow twentieth above it, a run can only creep,
    and would not say why. A limit in times moves with the database.
    """
    now, probes = 0.0, [0.0025] * 37 + [0.0127] * 13
    pacing = Pacing(Pace(limit, lambda: probes[int(now * 10) % 50]), lambda: now)
    sentences = []
    for tick in range(600):
        now = tick / 10
        pacing.probe()
        pacing.step()
        sentences.append(pacing.sentence())

    assert [one.getMessage().partition(": ")[2] for one in caplog.records] == ([said] if said else [])
    assert {one.partition(" without the run; ")[2] for one in sentences if "choose" in one} == ({said} - {""})
