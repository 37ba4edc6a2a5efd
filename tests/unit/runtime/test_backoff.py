"""Pauses that grow."""

from __future__ import annotations

from taskmaster.runtime.backoff import Backoff, pause_after


def test_pauses_grow_up_to_the_longest() -> None:
    """The first one is as given, and none is longer than the longest."""
    backoff = Backoff(0.5, 3.0)

    assert backoff.pause == 0.0
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.pause == 3.0


def test_a_success_begins_anew() -> None:
    """The next failure is waited for as shortly as the first one."""
    backoff = Backoff(1.0, 60.0, factor=3.0)
    pauses = [backoff.next(), backoff.next()]
    backoff.reset()

    assert [*pauses, backoff.next()] == [1.0, 3.0, 1.0]


def test_any_number_of_failures_has_a_pause() -> None:
    """A slave may ask in vain for years, which must not overflow."""
    assert [pause_after(failures, 0.5, 8.0) for failures in (0, 1, 2, 5, 6, 10**9)] == [0.5, 0.5, 1.0, 8.0, 8.0, 8.0]
