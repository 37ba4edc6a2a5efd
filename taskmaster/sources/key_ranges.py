"""Key ranges as jobs, whatever database they are of: how many rows the next one has, where it ends,
and its halves.

What ``taskmaster.postgres.ranges`` and ``taskmaster.django_orm.ranges`` have in common; they say
how a border is read and what the callback gets. The number of rows of a range follows the time that
ranges take in the workers. A resumed run could therefore not draw the same borders again, and takes
them from its state (``parked``, see ``taskmaster.master.broker.write_ahead``).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from statistics import fmean, median_high
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import Job
from taskmaster.sources.fixed_cost import FixedCost
from taskmaster.sources.key_bounds import BoundedSource

__all__ = ["RangeSource"]

MOST_ROWS_OF_RANGE = 1_000_000  # most rows of a range
GROWTH_FACTOR = 2.0  # the next range has at most this many times the rows of the largest one measured
RECENT_TIMES = 5  # measurements whose median counts: a lock that one waits for, or a new connection, is one of them
GROWN = 1.25  # times as large as those before it, from which on a range's time counts alone
LEAST_OF_FIXED = 2.0  # times what a range takes beside its rows, that it is to take at least
MOST_UNMEASURED = 10_000  # ranges whose number of rows is remembered until they are measured


class RangeSource(BoundedSource):
    """A source with ``iterate(last)``, as ``taskmaster.master.reading.source`` wants it; a job's
    key is (lo, hi).

    Args:
        rows: How many rows the first ranges have.
        target: Seconds that a range should take in a worker; None: the number of rows stays as it
            is.

    Raises:
        UsageError: An argument makes no sense.
    """

    parked = True

    def __init__(self, rows: int, target: float | None) -> None:
        if type(rows) is not int or rows < 1:
            raise UsageError(f"rows={rows!r}: give a whole number of rows, 1 or more; convert text with int().")
        if target is not None and (type(target) not in (int, float) or not 0 < target < math.inf):
            raise UsageError(
                f"target={target!r}: give the seconds that a range should take, or None to keep all ranges of one "
                "size; convert text with float()."
            )
        super().__init__()
        self._rows = self._first_rows = rows
        self._target = target
        self._lent: float | None = None  # a shorter target
        self._measured: deque[tuple[float, float]] = deque(maxlen=RECENT_TIMES)  # rows of a range, rows a second
        self._fixed_cost = FixedCost()
        self._largest = rows  # rows of a range that was measured
        self._open: dict[Any, int] = {}  # rows of ranges that were not measured yet, by key

    # -- what the master calls ---------------------------------------------------------------------

    def iterate(self, last: Any) -> Iterator[Job]:
        """Return the ranges after one, or all of them."""
        begin = None if last is None else self._parsed(last)[1]
        if not self._fixed:
            self.bounds(None)
        return self._drawn(begin)

    def split(self, key: Any) -> list[Job]:
        """Return a range in two parts, halves if possible; nothing if its rows have one key."""
        lo, hi = self._parsed(key)
        half = count = self._count(lo, hi)  # what was drawn may have lost rows since
        while half > 1:
            # Where many rows have the highest key, the border at the half is that key: those before
            # it are still to be told apart. Whether it is, the database says: NaN is not equal to
            # itself in Python, and A may be a there.
            half //= 2
            middle = self._border(lo, hi, half)
            above = 0 if middle is None else self._count(middle, hi)
            if above:
                self._open.pop(key, None)
                return [self._job(lo, middle, max(half, count - above)), self._job(middle, hi, above)]
        return []  # rows with one key cannot be told apart by it

    def took(self, jobs: Sequence[Any], seconds: float) -> None:
        """Give the next ranges as many rows as take the target, by what a worker has measured.

        Args:
            jobs: Keys of ranges that were done one after the other.
            seconds: How long that took.
        """
        counts = [self._open.pop(key, 0) for key in jobs]
        target, lent = self._target, self._lent  # once: another thread lends, and takes back
        if target is None or not all(counts) or seconds <= 0:
            return  # the number of rows of a range from an earlier session is unknown
        size = fmean(counts)
        if lent is not None:
            self._fixed_cost.note(size, seconds / len(counts))
            target = min(target, max(lent, LEAST_OF_FIXED * self._fixed_cost.seconds))
        if size > GROWN * max((rows for rows, _ in self._measured), default=0.0):
            # Each range has a cost that does not grow with its rows. So small ranges are slow for
            # each row, and what they took would keep the next ones small.
            self._measured.clear()
        self._measured.append((size, sum(counts) / seconds))
        self._largest = max(self._largest, *counts) if seconds / len(counts) < target else max(counts)
        wanted = round(median_high(speed for _, speed in self._measured) * target)
        self._rows = max(1, min(wanted, int(GROWTH_FACTOR * self._largest), MOST_ROWS_OF_RANGE))

    def lend_target(self, seconds: float | None) -> None:
        """Let the next ranges take no longer than ``seconds``, to spare others; None: as long as
        the user has said. Ranges of a fixed size stay as they are. Before one was measured, they
        have fewer rows in proportion. No range is made so short that most of its time is its fixed
        cost: it takes twice that cost at least, but never more than the target.
        """
        self._lent = seconds
        if self._target is not None and not self._measured:
            part = 1.0 if seconds is None else min(1.0, seconds / self._target)
            self._rows = max(1, int(part * self._first_rows))

    def position(self, key: Any) -> float | None:
        """Return the fraction of the keys up to a range's end; None where keys are no numbers."""
        return self._fraction(key[1])

    def extent(self, key: Any) -> float | None:
        """Return the fraction of the keys that is in a range; None where keys are no numbers."""
        lo, hi = key
        end = self._fraction(hi)
        begin = 0.0 if lo is None else self._fraction(lo)
        return None if begin is None or end is None else end - begin

    # -- what the database says --------------------------------------------------------------------

    @abstractmethod
    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        """Return the key of the row that is ``count`` rows above ``lo``; None if there are fewer up
        to ``hi``.
        """

    @abstractmethod
    def _count(self, lo: Any, hi: Any) -> int:
        """Return how many rows are above ``lo`` and up to ``hi``."""

    @abstractmethod
    def _range(self, lo: Any, hi: Any) -> Any:
        """Return the range object that the callback is called with."""

    def _end(self, *, descending: bool) -> Any:
        return self._border(None, None, 1, descending=descending)

    def _is_below_another(self, key: Any) -> bool:
        return self._border(key, None, 1) is not None

    # -- inside ------------------------------------------------------------------------------------

    def _parsed(self, key: Any) -> tuple[Any, Any]:
        """Return the two ends of a range.

        Raises:
            UsageError: It is not a key of this source.
        """
        if not isinstance(key, tuple | list) or len(key) != 2:
            raise UsageError(
                f"{key!r} is none of the {self!r}: the run that it comes from had another source. Start a new run with "
                "--reset, or give this one a state of its own with --state=PATH."
            )
        lo, hi = key
        if lo is not None:
            self._check_end(lo)
        self._check_end(hi)
        return lo, hi

    def _drawn(self, lo: Any) -> Iterator[Job]:
        while self._ends is not None and lo != self._ends[1]:
            count = self._rows
            hi = self._border(lo, self._ends[1], count)
            if hi is None:  # less than a whole range before the end of the run: the last one
                yield self._job(lo, self._ends[1], count)
                return  # not told by comparing: NaN is a key, and never equal to itself
            yield self._job(lo, hi, count)
            lo = hi

    def _job(self, lo: Any, hi: Any, count: int) -> Job:
        key = (lo, hi)
        if len(self._open) < MOST_UNMEASURED:
            self._open[key] = count
        return Job(key, self._range(lo, hi))
