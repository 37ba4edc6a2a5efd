"""A connection is cut when nothing was acknowledged for half a minute, or an answer is overdue for
as long, and never before.
"""

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


@pytest.mark.parametrize(
    ("now", "quiet", "overdue"),
    [(159.9, 60.0, False), (160.0, 29.9, False), (160.0, 30.0, True), (1000.0, 1000.0, True)],
)
def test_an_answer_is_overdue_when_nothing_comes_long_after_it_was_due(now, quiet, overdue):
    """A long answer may be on its way, in many parts."""
    link = Link()
    assert not link.is_overdue(LinkState(True, False, 0.0, quiet), now)
    link.due = 130.0
    assert link.is_overdue(LinkState(True, False, 0.0, quiet), now) is overdue


def test_what_is_sent_again_and_again_is_not_acknowledged_by_something_else():
    """Where packets get lost one way only, the other side repeats what it has sent, too."""
    link, found = Link(), []
    for at in range(8):
        state = LinkState(True, True, 1.0, 40.0, repeating=True, acknowledged=1000)
        found.append(link.is_dead(state, 5.0 * at))
    assert found == [False] * 6 + [True] * 2


def test_a_network_that_loses_much_gets_on():
    """Something is sent again at each look, and something was acknowledged since the one before."""
    link = Link()
    for at in range(100):
        state = LinkState(True, True, 1.0, 1.0, repeating=True, acknowledged=100 * at)
        assert not link.is_dead(state, 5.0 * at)
