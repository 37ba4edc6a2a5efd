"""Garbage collection that does not stop a master with very many batches in hand.

Python's collector looks at all objects from time to time: at a million batches that are in the
hands of slaves, or jobs that are parked, everything stands still for seconds. They need no
collector. So while there are that many, what is alive is set aside now and then (``gc.freeze``),
unseen, and only what is new is looked at. A process with fewer is left as it is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Collector", "collector_paused"]

MANY_BATCHES = 20_000  # from which on a look at all objects takes a tenth of a second and more
FREEZE_SECONDS = 0.5  # so that each object is looked at once, and those of that time in less than a tenth of it
# Where much is made at once, new objects are looked at sooner, and those that have survived that a
# second time: at most 200,000 of them, which takes a quarter of a second.
YOUNG_OBJECTS = 100_000
YOUNG_ROUNDS = 1
NEVER = 1_000_000_000


@contextmanager
def collector_paused() -> Iterator[None]:
    """Make very many objects without the collector looking at all of them again and again, here or
    soon after.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if gc.get_freeze_count() == 0:  # else what others have set aside would come back
                gc.freeze()
                gc.unfreeze()  # to the oldest, which are looked at last
            gc.enable()


class Collector:
    """Collects garbage when a master has time for it; one for a process."""

    def __init__(self) -> None:
        self._former: tuple[int, int, int] | None = None  # thresholds, while it is at work
        self._unfreezes = False
        self._frozen_at = 0.0

    def start(self, batches: int) -> None:
        """Begin with what a resumed run has found. Very many are set aside without a single look at
        them: they were all made a moment ago, and slaves that come back wait.

        Args:
            batches: How many are parked.
        """
        if batches >= MANY_BATCHES:
            self._hold_back()
            gc.freeze()

    def tick(self, batches: int, now: float) -> None:
        """Let time pass.

        Args:
            batches: How many batches are handed out or parked.
            now: On the monotonic clock.
        """
        if self._former is None:
            if batches < MANY_BATCHES:
                return
            self._hold_back()
        elif batches < MANY_BATCHES // 2:
            self.stop()
            return
        elif now < self._frozen_at + FREEZE_SECONDS:
            return
        self._frozen_at = now
        gc.collect(1)  # what is new, and garbage: nobody looks at it once it is set aside
        gc.freeze()

    def _hold_back(self) -> None:
        self._former = gc.get_threshold()
        self._unfreezes = gc.get_freeze_count() == 0  # what others have set aside stays so
        gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, NEVER)

    def stop(self) -> None:
        """Leave the collector as it was found."""
        if self._former is not None:
            gc.set_threshold(*self._former)
            self._former = None
            if self._unfreezes:
                gc.unfreeze()
