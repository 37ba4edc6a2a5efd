"""Thousands of seeded schedules through the real broker, checkpointer, reader and service, and the
slaves' real in_flight.

``TASKMASTER_SEED`` replays one.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from support import proof
from support.cases import mostly_slow
from support.file_disk import FileDisk
from support.outage_world import OutageWorld
from support.planned_world import PlannedWorld
from support.steered_world import SteeredWorld
from support.world import World

BLOCKS = 10
EACH = 60  # schedules of a block in `make test`
OUTAGES_EACH = 30  # of those with outages, which have more jobs
PART = proof.size(5_000, 50_000)
PARTS = proof.size(1, 20)
WITH_FILE = 25  # one schedule in so many writes a real state file, too


def play(seed: int, kind: type[World] = World) -> World:
    """One schedule: 150 random events, then a drain without faults."""
    with tempfile.TemporaryDirectory() as directory:
        disk = FileDisk(Path(directory) / "x.tmstate") if seed % WITH_FILE == 0 else None
        try:
            world = kind(seed, disk)
            for _ in range(150):
                world.step()
            world.drain()
            world.check_end()
        except BaseException as exc:
            exc.add_note(f"replay with TASKMASTER_SEED={seed} python -m pytest tests/simulation")
            raise
        finally:
            if disk is not None:
                disk.close()
    return world


def figures(seed: int) -> Counter[str]:
    """What happened in a schedule."""
    world = play(seed)
    rows = Counter(world.rows)
    ran = {row: world.ledger[row] for row in rows}
    return Counter(
        schedules=1,
        jobs=rows.total(),
        executions=sum(ran.values()),
        masters=world.generation,
        slaves=world.born,
        taken=world.taken,
        failed=len(world.disk.failed),
    )


@pytest.mark.parametrize("block", mostly_slow(range(BLOCKS), 0, 5))
def test_no_schedule_loses_a_job(block: int) -> None:
    """Whatever dies, comes late, twice or never: the run ends, and every job was run or is written
    down.
    """
    seeds = list(range(block, EACH * BLOCKS, BLOCKS))
    if proof.SEED:
        seeds = [int(proof.SEED)] if block == 0 else []
    total = sum(map(figures, seeds), Counter())

    assert total["schedules"] == len(seeds)


@pytest.mark.parametrize("block", mostly_slow(range(BLOCKS), 0))
def test_no_schedule_loses_a_row_of_a_planned_range(block: int) -> None:
    """Of jobs that are parked first: a range keeps its borders whatever dies, and is split down to
    a row that fails.
    """
    seeds = list(range(block, EACH * BLOCKS, BLOCKS))
    if proof.SEED:
        seeds = [int(proof.SEED)] if block == 0 else []
    worlds = [play(seed, PlannedWorld) for seed in seeds]

    assert len(worlds) == len(seeds)
    if not proof.SEED:
        assert sum(len(world.disk.failed) for world in worlds) > EACH
        assert sum(world.timed for world in worlds) > 10 * EACH


@pytest.mark.parametrize("block", mostly_slow(range(BLOCKS), 0))
def test_no_schedule_loses_a_job_of_a_run_that_is_steered(block: int) -> None:
    """Whatever an operator asks for meanwhile, at whatever moment: nothing is handed out while the
    run is held, the trail has no gaps, and what was in force is in force after each restart.
    """
    seeds = list(range(block, EACH * BLOCKS, BLOCKS))
    if proof.SEED:
        seeds = [int(proof.SEED)] if block == 0 else []
    worlds = [play(seed, SteeredWorld) for seed in seeds]

    assert len(worlds) == len(seeds)
    if not proof.SEED:
        assert sum(world.holds for world in worlds) > EACH
        assert sum(world.retried for world in worlds) > 0


@pytest.mark.parametrize("block", mostly_slow(range(BLOCKS), 0))
def test_no_schedule_with_outages_loses_a_job(block: int) -> None:
    """Everything fails alike for a while, whatever dies meanwhile: the run holds back, tries one
    job now and then, charges none for it, and goes on by itself or stops where it can go on.
    """
    seeds = list(range(block, OUTAGES_EACH * BLOCKS, BLOCKS))
    if proof.SEED:
        seeds = [int(proof.SEED)] if block == 0 else []
    worlds = [play(seed, OutageWorld) for seed in seeds]

    assert len(worlds) == len(seeds)
    if not proof.SEED:
        assert sum(world.holds for world in worlds) >= OUTAGES_EACH / 5
        assert sum(world.spared for world in worlds) >= OUTAGES_EACH / 2


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_of_many_loses_a_job(part: int) -> None:
    """The same, on all processors; and each fault that is meant to happen does."""
    seeds = range(10_000 + part * PART, 10_000 + (part + 1) * PART)
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        total = sum(pool.imap_unordered(figures, seeds, chunksize=50), Counter())
    print(total)
    proof.record(
        "seeded schedules through broker, checkpointer, reader, store and in_flight",
        tried=PART,
        survived=total["schedules"],
        repeated=total["executions"] - total["jobs"] + total["failed"],
    )

    assert total["schedules"] == PART
    assert total["failed"] > PART
    assert total["taken"] > PART / 50
    assert min(total["masters"], total["slaves"]) > 2 * PART
