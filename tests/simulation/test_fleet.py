"""A small fleet in virtual time, through all that ``benchmarks.fleet`` measures at full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fleet.phases import Result, measure, table
from benchmarks.fleet.simulated_slaves import Shape

SLAVES, WORKERS = 20, 4


@pytest.fixture(scope="module", params=[False, True], ids=["ranges", "rows"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A fleet of which a tenth is lost."""
    path: Path = tmp_path_factory.mktemp("fleet") / "fleet.tmstate"
    shape = Shape(SLAVES, WORKERS, seconds=10.0)
    return measure(path, shape, rows=request.param, steady=4.0, rack=SLAVES // 10, budget=120.0)


def test_every_phase_comes_to_its_end(result: Result) -> None:
    """All are at work at the start, in the steady state and after a restart, and what a lost rack
    held is out again.
    """
    assert [(phase.name, phase.whole) for phase in result.phases] == [
        ("start", True), ("steady", True), ("restart", True), ("rack", True),
    ]  # fmt: skip
    assert result.busy > 0.99


def test_the_simulation_asks_for_what_slaves_ask_for(result: Result) -> None:
    """An exchange for each job in the steady state, and a few that only renew the leases; nobody
    waits for long.
    """
    steady = result.phases[1]
    jobs = SLAVES * WORKERS * steady.virtual / 10.0

    assert steady.jobs == pytest.approx(jobs, rel=0.5)
    assert steady.jobs <= steady.exchanges <= 3 * (steady.jobs + SLAVES)
    assert result.recovery < 10.0
    assert 2.0 < result.rack < 5.0
    assert "steady state: share of one core" in table(result)
