"""What is moved to give a run a share of its full speed: how long workers rest, how many of them
work at once, and how long their batches and ranges are. Pure.
"""

from __future__ import annotations

import math

__all__ = ["at_once", "batch_seconds", "rest_ratio", "share_left"]

FULL_SHARE = 0.995  # from which on nobody has to rest
LEAST_GUARD_SHARE = 0.05  # that a guard leaves which is about to stop the run
SLOWING = 0.5  # utilisation from which on a guard slows the run
SHORTEST_SECONDS = 0.01  # that a batch or range takes at least: shorter ones spare others nothing more
CROWD = 2.0  # this many times the workers that are at work on average may be at work at once


def rest_ratio(share: float) -> float:
    """Return how long a worker rests after a batch, in multiples of its time, so that it works a
    share of the time.
    """
    return 0.0 if share >= FULL_SHARE or share <= 0 else (1.0 - share) / share


def at_once(share: float, workers: int) -> float:
    """Return how many of the workers may be at work at once: any number at full speed.

    Rests are of each worker: without this, all of them might work in the same moment, and rest in
    the next.
    """
    return math.inf if share >= FULL_SHARE else max(1, math.ceil(CROWD * share * workers))


def batch_seconds(share: float, full: float) -> float:
    """Return how long a batch or range should take, where it takes ``full`` seconds at full speed.

    Others meet a long one more often, and each that meets it waits for longer; a short one costs
    more for each row. So the slower the run is, the shorter they are.
    """
    if share >= FULL_SHARE or full <= SHORTEST_SECONDS:
        return full
    return float(full * (SHORTEST_SECONDS / full) ** (1 - share))


def share_left(utilisation: float) -> float:
    """Return the share of full speed that a guard leaves, by its value as a share of its limit: it
    slows the run before it has to stop it.
    """
    return min(1.0, max(LEAST_GUARD_SHARE, (1.0 - utilisation) / (1.0 - SLOWING)))
