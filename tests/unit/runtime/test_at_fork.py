"""What a forked child lets go of."""

from __future__ import annotations

import weakref

import pytest

from taskmaster.runtime import at_fork


class Held:
    """Stands for a lock or a socket."""

    forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


class Closed:
    """Stands for one that somebody has closed already."""

    def forget(self) -> None:
        raise OSError(9, "Bad file descriptor")


def test_one_that_is_closed_keeps_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their order is: the child lets go of them all."""
    monkeypatch.setattr(at_fork, "_ours", weakref.WeakSet())
    things = [Held(), Closed(), Held(), Closed(), Held()]
    for thing in things:
        at_fork.forget_in_children(thing)

    at_fork._forget_all()

    assert [thing.forgotten for thing in things if isinstance(thing, Held)] == [1, 1, 1]


def test_a_child_lets_go_of_all_that_still_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was collected is not kept alive for it."""
    # What earlier tests have left is not let go of: it may be closed already.
    monkeypatch.setattr(at_fork, "_ours", weakref.WeakSet())
    first, second, gone = Held(), Held(), Held()
    for held in (first, second, gone):
        at_fork.forget_in_children(held)
    before = len(at_fork._ours)
    del gone, held

    assert len(at_fork._ours) == before - 1

    at_fork._forget_all()

    assert (first.forgotten, second.forgotten) == (1, 1)
