"""The memory in which a worker and its supervisor see each other; both sides are this process."""

from __future__ import annotations

import os

import pytest

from taskmaster.slave.ipc.scoreboard import ENDED, NOT_BEGUN, OPENING, REGIONS, RUNNING, SCOREBOARD_BYTES, Scoreboard
from taskmaster.slave.pool.shared_memory import make_memory


@pytest.fixture
def sides() -> tuple[Scoreboard, Scoreboard]:
    """The supervisor's and the worker's, with a batch of five in the first region."""
    memory = make_memory(SCOREBOARD_BYTES)
    made = Scoreboard(memory), Scoreboard(memory)
    os.close(memory)
    made[0].prepare(0, 5)
    return made


def test_both_sides_see_the_same(sides: tuple[Scoreboard, Scoreboard]) -> None:
    """From a batch that has not begun to one that is at its third job."""
    supervisor, worker = sides

    assert (supervisor.begun(0), supervisor.opening(0), supervisor.position(0)) == (False, False, 0)

    worker.heads[0][1] = OPENING

    assert (supervisor.begun(0), supervisor.opening(0), supervisor.position(0)) == (True, True, 0)

    worker.heads[0][1] = 2

    assert (supervisor.begun(0), supervisor.opening(0), supervisor.position(0)) == (True, False, 2)
    assert supervisor.running(0, 5, several=False) == [2]


def test_a_limit_never_cuts_off_a_job_that_was_started(sides: tuple[Scoreboard, Scoreboard]) -> None:
    """Of those that were not, none is started: one at a time, and several at once."""
    supervisor, worker = sides

    assert supervisor.lower(0, 4, 5, several=False) == 4

    worker.heads[0][1] = 2

    assert supervisor.lower(0, 0, 5, several=False) == 3

    supervisor.prepare(0, 5)
    worker.heads[0][1] = 0
    for index, state in enumerate((ENDED, RUNNING, ENDED, RUNNING)):
        worker.states[0][index] = state

    assert supervisor.lower(0, 1, 5, several=True) == 4


def test_a_worker_that_starts_no_more_says_so_in_every_region(sides: tuple[Scoreboard, Scoreboard]) -> None:
    """Until the supervisor makes a region ready for another batch."""
    supervisor, worker = sides
    supervisor.prepare(1, 7)
    worker.start_no_more()

    assert [worker.heads[region][0] for region in range(REGIONS)] == [0, 0]
    assert all(worker.lowered[region][0] for region in range(REGIONS))

    supervisor.prepare(1, 7)

    assert (worker.heads[1][0], worker.heads[1][1], worker.lowered[1][0]) == (7, NOT_BEGUN, 0)
