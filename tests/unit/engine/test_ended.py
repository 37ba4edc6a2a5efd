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
