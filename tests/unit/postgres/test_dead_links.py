"""A connection is cut when nothing was acknowledged for half a minute, and never before."""

from __future__ import annotations

import pytest

from taskmaster.postgres.dead_links import LINK_SILENCE_SECONDS, Link, LinkState


def looked_at(*states: tuple[bool, float], every: float = 5.0) -> list[bool]:
    """Say of each look, five seconds after the one before, whether the link is dead."""
    link = Link()
    return [link.is_dead(LinkState(True, *state), every * at) for at, state in enumerate(states)]


def test_what_is_not_acknowledged_for_half_a_minute_is_dead():
    """Counted from the first look that saw it: what was silent before had nothing to say."""
    assert LINK_SILENCE_SECONDS == 30.0
    assert looked_at(*[(True, 400.0 + 5.0 * at) for at in range(8)]) == [False] * 6 + [True] * 2


@pytest.mark.parametrize("silence", [0.0, 4.9])
def test_an_acknowledgement_begins_the_count_anew(silence):
    """A slow network always has something on its way; so has a server that takes no more data, and
    answers each question.
    """
    assert looked_at(*[(True, silence)] * 100) == [False] * 100


def test_a_link_with_nothing_on_its_way_is_left_alone():
    """However long it is idle, or waits for an answer."""
    assert looked_at(*[(False, 5.0 * at) for at in range(1000)]) == [False] * 1000
    assert looked_at((True, 0.0), (False, 5.0), *[(True, 5.0 * at) for at in range(2, 8)])[-1] is False
