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
