"""What a range takes beside its rows. Pure.

The way to the server and back with each statement, its plan and the commit take their time however
few rows a range has. Where a range is to be no longer than that, it would have hardly any rows, and
a run would cost others as much for next to nothing.
"""

from __future__ import annotations

from collections import deque
from itertools import combinations
from statistics import median

__all__ = ["FixedCost"]

KEPT = 24  # measurements that count
APART = 1.5  # times as many rows, from which on two ranges tell rows from the rest
FEWEST_PAIRS = 10  # of such ranges, before anything is said


class FixedCost:
    """Tells it from ranges of different sizes.

    It is where the line of Theil and Sen meets no rows: its slope is the median of the slopes
    between all pairs (P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau",
    Journal of the American Statistical Association 63, 1968). A range that has waited for a lock,
    or for a new connection, would draw a line of least squares far away.

    Attributes:
        seconds: What a range takes beside its rows; 0 as long as that is not known.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._measured: deque[tuple[float, float]] = deque(maxlen=KEPT)  # rows, seconds

    def note(self, rows: float, seconds: float) -> None:
        """Note what a range of some rows has taken. Of ranges that are all of one size nothing is
        learnt, and what is known stays.
        """
        self._measured.append((rows, seconds))
        slopes = [
            (later[1] - former[1]) / (later[0] - former[0])
            for former, later in combinations(sorted(self._measured), 2)
            if later[0] >= APART * former[0]
        ]
        if len(slopes) >= FEWEST_PAIRS:
            slope = max(0.0, median(slopes))
            self.seconds = max(0.0, median(taken - slope * count for count, taken in self._measured))
