"""What is said of a limit of ``--pace`` that cannot be held. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection

from taskmaster.guards.pace import PaceLimit
from taskmaster.master.throttle.probe_level import TAIL_QUANTILE, quantile

__all__ = ["in_ms", "too_low"]

ROOM = 1.5  # times the slowest twentieth without the run: a limit that leaves a run something


def in_ms(seconds: float) -> str:
    """Return seconds as people read them of a probe."""
    return f"{1000 * seconds:.3g} ms"


def too_low(limit: PaceLimit, alone: Collection[float]) -> str:
    """Return that a limit in time is missed without the run already, and what to choose; "" if it
    is not.

    Args:
        limit: The limit; one in times is never missed by the database itself.
        alone: The seconds of the probes without the run.
    """
    slow = quantile(alone, TAIL_QUANTILE)
    if limit.times or not slow > limit.seconds:
        return ""
    above = sum(seconds > limit.seconds for seconds in alone) / len(alone)
    return (
        f"without the run {100 * above:.0f} % of probes are above {in_ms(limit.seconds)} already: choose "
        f"--pace={_round_up(1000 * ROOM * slow):.12g}ms or more, or {ROOM:g}x"
    )


def _round_up(number: float) -> float:
    """Return the next number of 1, 2, 5, 10, 20 and so on."""
    power: float = 10.0 ** math.floor(math.log10(number))
    return next((power * digit for digit in (1, 2, 5) if number <= power * digit), 10 * power)
