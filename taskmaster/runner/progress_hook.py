"""What a script hears of its run while it goes on: ``Taskmaster.start(on_progress=...)``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from taskmaster.master.summary import View
from taskmaster.runtime.child_process import children_kept_out
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.view.snapshot import Snapshot

__all__ = ["ProgressHook"]

logger = clean_logger(__name__)

PROGRESS_HOOK_SECONDS = 1.0  # between two calls, at least


class ProgressHook:
    """A view that calls a function of the user's, and shows the run in another view.

    Args:
        view: Shows the run.
        call: Is told how it stands; what it raises is logged, and it is not called again.
        describe: Gives the status of the run for programs.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        view: View,
        call: Callable[[dict[str, Any]], object],
        describe: Callable[[Snapshot], dict[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view = view
        self._call: Callable[[dict[str, Any]], object] | None = call
        self._clock = clock
        self._describe = describe
        self._called_at: float | None = None

    def update(self, snapshot: Snapshot) -> None:
        """Show the run as it is now, and tell it if that is due."""
        self._view.update(snapshot)
        now = self._clock()
        if self._called_at is None or now - self._called_at >= PROGRESS_HOOK_SECONDS:
            self._called_at = now
            self._tell(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show it for the last time, and tell it."""
        self._view.close(snapshot)
        self._tell(snapshot)

    def say(self, line: str) -> None:
        """Print a line of Taskmaster's own."""
        self._view.say(line)

    def _tell(self, snapshot: Snapshot) -> None:
        if self._call is None:
            return
        try:
            with children_kept_out():
                self._call(self._describe(snapshot))
        except Exception as exc:
            self._call = None
            why = users_traceback(exc)
            logger.warning("on_progress raised, and is not called any more:\n%s", why)
