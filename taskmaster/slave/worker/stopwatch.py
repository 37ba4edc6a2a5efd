"""The clock by which a worker takes times, whatever the user's code does to the module ``time``.

A callback may run tests, or be one: freezegun and the like put another function in the place of
``time.perf_counter``, under every name that a module has for it, and may leave it there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from taskmaster.job_times import possible

__all__ = ["CLOCK", "since"]

CLOCK: Callable[[], float] = functools.partial(time.perf_counter)  # is not found as that function's name


def since(began: float) -> float:
    """Return the seconds since a time on this clock; 0 if it was replaced before this was loaded,
    and has been set meanwhile.
    """
    return possible(CLOCK() - began)
