"""A reader without a thread: the source is iterated in the thread that asks for more of it.

For a run in the caller's own process, whose source has to see what that thread sees: its
connection, its transaction, its loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from taskmaster.master.reading.reader import Reader

__all__ = ["ReaderByTurns"]

LONGEST_TURN_SECONDS = 0.05  # a turn that takes longer makes the next one read a single job


class ReaderByTurns(Reader):
    """As ``Reader``, but read by ``turn``."""

    def begin(self, seconds: float) -> None:  # noqa: ARG002  # this thread reads itself
        """Read up to the first job, unless there are jobs of an earlier session."""
        with self._kept_error():
            self.prepare()
        while not self.started_reading.is_set() and self.turn():
            pass
        if self.error is not None:
            self._end()
        self.started_reading.set()  # nobody can wait for it in this thread

    def beside(self, function: Callable[[], None]) -> None:
        """Call a function of the user's, here and now."""
        function()

    def turn(self) -> bool:
        """Read some of the source, if no job is there that could be handed out.

        Returns:
            False if nothing was read: there are jobs, or no room, or nothing more comes.
        """
        with self._lock:
            waiting = self._broker.intake.queued + self._broker.redelivery.jobs
            ready = waiting and not self._broker.intake.seeking
        if self.ended.is_set() or self.error is not None or ready:
            return False
        with self._kept_error():
            if not self._stop_asked.is_set() and not self.done:
                began = time.monotonic()
                found = self.step()
                self._end_if_child()
                if time.monotonic() - began > LONGEST_TURN_SECONDS:
                    # A slow source must not keep the jobs waiting that it has yielded.
                    self._chunks.begin_small()
                return found
        self._end()
        return False

    def wait_closed(self, seconds: float) -> None:  # noqa: ARG002  # as above
        """Close the source."""
        if not self.ended.is_set():
            self._end()

    def _end(self) -> None:
        self._close()
        self.ended.set()
        self.started_reading.set()
