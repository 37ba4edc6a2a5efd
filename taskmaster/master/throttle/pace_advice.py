"""What is said of a limit of ``--pace`` that cannot be held, or was not. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection

from taskmaster.guards.pace import PaceLimit
from taskmaster.master.throttle.probe_level import TAIL_QUANTILE, quantile

__all__ = ["in_ms", "missed", "too_low"]

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


def missed(limit: PaceLimit, felt: Collection[float], alone: Collection[float]) -> str:
    """Return by how much the median or the p95, for both of which it is, missed the limit; "" if
    neither did.

    Args:
        limit: The limit.
        felt: The seconds of the probes beside the run that others felt.
        alone: Those without the run.
    """
    found = []
    for what, part in (("the median", 0.5), ("the p95", TAIL_QUANTILE)):
        usual, without = quantile(felt, part), quantile(alone, part)
        if usual > limit.allowed(without):
            by = f"{usual / without:.3g} times" if limit.times else in_ms(usual)
            found.append(f"{what} is {by}")
    if not found:
        return ""
    asked = f"{limit.times:g} times" if limit.times else in_ms(limit.seconds)
    said = " and ".join(found)
    return f"{said[:1].upper()}{said[1:]}, above the {asked} that {'were' if limit.times else 'was'} asked for."


def _round_up(number: float) -> float:
    """Return the next number of 1, 2, 5, 10, 20 and so on."""
    power: float = 10.0 ** math.floor(math.log10(number))
    return next((power * digit for digit in (1, 2, 5) if number <= power * digit), 10 * power)
