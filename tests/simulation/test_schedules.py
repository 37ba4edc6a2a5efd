"""Thousands of seeded schedules through the real broker, keeper, reader and service.

``TASKMASTER_SIMULATIONS`` sets how many; ``TASKMASTER_SEED`` replays one.
"""

from __future__ import annotations

import os

import pytest
from world import World

SCHEDULES = int(os.environ.get("TASKMASTER_SIMULATIONS", "3000"))
BLOCKS = 10


def play(seed: int) -> World:
    """One schedule: 150 random events, then a drain without faults."""
    world = World(seed)
    try:
        for _ in range(150):
            world.step()
        world.drain()
        world.check_end()
    except BaseException as exc:
        exc.add_note(f"replay with TASKMASTER_SEED={seed} python -m pytest tests/simulation")
        raise
    return world


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.timeout(240)
def test_no_schedule_loses_a_job(block: int) -> None:
    """Whatever dies, comes late, twice or never: the run ends, and every job was run or is written down."""
    if "TASKMASTER_SEED" in os.environ:
        seeds = [int(os.environ["TASKMASTER_SEED"])] if block == 0 else []
    else:
        seeds = range(block, SCHEDULES, BLOCKS)
    played = 0
    for seed in seeds:
        play(seed)
        played += 1

    assert played == len(seeds)
