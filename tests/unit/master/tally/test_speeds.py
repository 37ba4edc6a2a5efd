"""How fast a run was over several spans."""

from __future__ import annotations

import pytest

from taskmaster.master.tally.speeds import Speeds


def test_each_span_has_its_own_rate() -> None:
    """Ten minutes at ten a second, then one at a hundred."""
    speeds = Speeds(1000.0)
    settled = 0
    for second in range(1, 3301):
        settled += 2 if second <= 3000 else 20
        speeds.note(1000.0 + second / 5, settled, 2 * settled)

    assert speeds.settled(10.0) == pytest.approx(100.0)
    assert speeds.settled(60.0) == pytest.approx(100.0)
    assert speeds.settled(600.0) == pytest.approx((540 * 10 + 60 * 100) / 600, rel=0.01)
    assert speeds.read(10.0) == pytest.approx(200.0)


def test_a_young_run_is_measured_from_its_start() -> None:
    """And one that has not begun has no rate."""
    speeds = Speeds(1000.0)
    assert speeds.settled(10.0) == 0.0
    assert not speeds.note(1000.5, 50, 50)
    assert speeds.settled(600.0) == 100.0
    assert speeds.note(1001.0, 60, 60)


def test_a_machine_that_slept_has_few_samples() -> None:
    """The sample that is old enough is found, whatever lies between."""
    speeds = Speeds(0.0)
    for at in (1.0, 2.0, 500.0, 501.0):
        speeds.note(at, int(at), 0)

    assert speeds.settled(10.0) == pytest.approx((501 - 2) / (501 - 2))
