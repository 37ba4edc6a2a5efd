"""Guards of a real server, asked until they answer as a test expects."""

from __future__ import annotations

import time
from collections.abc import Callable

from taskmaster.guards import Guard

__all__ = ["until"]


def until(guard: Guard, holds: Callable[[str], object]) -> str:
    """Ask the guard until its answer is as expected; gives that answer."""
    deadline = time.monotonic() + 30.0
    while not holds(reason := guard()):
        assert time.monotonic() < deadline, (reason, guard.value)
        time.sleep(0.05)
    return reason
