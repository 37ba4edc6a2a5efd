"""How a slave on an engine ended."""

from __future__ import annotations

import pytest

from taskmaster.engine.ended import Ended


@pytest.mark.parametrize("code", [0, 129, 130, 143])
def test_a_signal_or_the_end_of_the_run_is_nobody_s_fault(code):
    """Another one would work."""
    assert Ended(code).by_will
    assert not Ended(code).cannot_work


@pytest.mark.parametrize("ended", [Ended(1), Ended(2), Ended(6), Ended(None, unusable=True)])
def test_a_callback_that_cannot_be_loaded_cannot_be_loaded_again(ended):
    """Target, setup, a master out of reach, or no Taskmaster there."""
    assert ended.cannot_work
    assert not ended.by_will


@pytest.mark.parametrize("code", [-9, -11, None])
def test_a_lost_slave_is_one_that_may_work_the_next_time(code):
    """A kill, an engine that has lost it."""
    assert not Ended(code).cannot_work
    assert not Ended(code).by_will


def test_a_slave_whose_workers_were_not_well_at_the_end_has_heard_of_that_end():
    """It is no fault of the engine's worker, and needs no other slave; one that had no end has
    another fault.
    """
    over = Ended(1, "w", "teardown() raised OSError\ntm-slave: the run is over: 3 jobs done by this slave.\n")

    assert over.heard_end
    assert not over.cannot_work
    assert Ended(0, "w", "tm-slave: the run is over: 3 jobs done by this slave.").heard_end
    for other in (
        Ended(0, "w", "tm-slave: an operator wants this slave to end: 3 jobs done by this slave."),
        Ended(0),
        Ended(1, "w", "setup() raised OSError"),
        Ended(2, "w", over.said),
        Ended(143),
        Ended(None),
    ):
        assert not other.heard_end
