"""The time of a range that does not depend on its rows: its fixed cost. Pure.

Round trips to the server, planning and the commit take the same time for few rows as for many. A
range that may take no longer than that would have hardly any rows: the run would load the database
as much, and get almost nothing done.
"""

from __future__ import annotations

from collections import deque
from itertools import combinations
from statistics import median

__all__ = ["FixedCost"]

KEPT = 24  # newest measurements that count
APART = 1.5  # least ratio of the rows of two ranges for which their times are compared
FEWEST_PAIRS = 10  # such pairs that an estimate needs


class FixedCost:
    """An estimate of the fixed cost, from ranges of different sizes.

    It is the intercept of the Theil-Sen line, whose slope is the median of the slopes between all
    pairs (P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", Journal of
    the American Statistical Association 63, 1968). A range that has waited for a lock, or for a new
    connection, would distort a line of least squares.

    Attributes:
        seconds: The fixed cost of a range; 0 while it is not known.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._measured: deque[tuple[float, float]] = deque(maxlen=KEPT)  # rows, seconds

    def note(self, rows: float, seconds: float) -> None:
        """Note the time of a range. While all ranges have about the same number of rows, the
        estimate stays as it is.
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
