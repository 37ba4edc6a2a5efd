"""Key ranges as jobs, for any database: how many rows the next range has, where it ends, and how it
is split.

``taskmaster.postgres.ranges`` and ``taskmaster.django_orm.ranges`` have this in common; they
themselves read the borders, and make the object that the callback gets. The number of rows of a
range follows from the time that ranges take in the workers. A resumed run could not find the same
borders again, so that it takes them from its state (``parked``, see
``taskmaster.master.broker.write_ahead``).
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

MOST_ROWS_OF_RANGE = 1_000_000
GROWTH_FACTOR = 2.0  # the next range has at most this many times the rows of the largest one measured
RECENT_TIMES = 5  # newest measurements whose median counts: a single wait for a lock does not change it
GROWN = 1.25  # a range with this many times the rows of those before it makes their measurements obsolete
LEAST_OF_FIXED = 2.0  # a range is to take at least this many times its fixed cost
MOST_UNMEASURED = 10_000  # most ranges whose number of rows is remembered until they are measured


class RangeSource(BoundedSource):
    """A source of ranges, whose keys are (lo, hi); see ``taskmaster.master.reading.source`` for its
    methods.

    Args:
        rows: How many rows the first ranges have.
        target: Seconds that a range should take in a worker; None: all ranges have ``rows`` rows.

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
        self._lent: float | None = None  # a shorter target for now
        self._measured: deque[tuple[float, float]] = deque(maxlen=RECENT_TIMES)  # rows of a range, rows a second
        self._fixed_cost = FixedCost()
        self._largest = rows  # rows of the largest range that was measured
        self._open: dict[Any, int] = {}  # rows of the ranges that were not measured yet, by key

    # -- what the master calls ---------------------------------------------------------------------

    def iterate(self, last: Any) -> Iterator[Job]:
        """Return the ranges after the one with a key; all of them for None."""
        begin = None if last is None else self._parsed(last)[1]
        if not self._fixed:
            self.bounds(None)
        return self._drawn(begin)

    def split(self, key: Any) -> list[Job]:
        """Return a range in two parts, halves if possible; nothing if its rows have one key."""
        lo, hi = self._parsed(key)
        half = count = self._count(lo, hi)  # counted: rows may have been deleted since it was made
        while half > 1:
            # If many rows have the highest key, the border at the half is that key, and the range
            # has to be cut before it. The database decides whether keys are equal: NaN is not equal
            # to itself in Python, and "A" may equal "a" in the database.
            half //= 2
            middle = self._border(lo, hi, half)
            above = 0 if middle is None else self._count(middle, hi)
            if above:
                self._open.pop(key, None)
                return [self._job(lo, middle, max(half, count - above)), self._job(middle, hi, above)]
        return []  # all rows have the same key

    def took(self, jobs: Sequence[Any], seconds: float) -> None:
        """Set the number of rows of the next ranges, so that each takes the target, by the time
        that a worker has measured.

        Args:
            jobs: The keys of ranges that were done one after the other.
            seconds: The time that they took together.
        """
        counts = [self._open.pop(key, 0) for key in jobs]
        target, lent = self._target, self._lent  # read once: another thread may change it
        if target is None or not all(counts) or seconds <= 0:
            return  # the number of rows of a range from an earlier session is unknown
        size = fmean(counts)
        if lent is not None:
            self._fixed_cost.note(size, seconds / len(counts))
            target = min(target, max(lent, LEAST_OF_FIXED * self._fixed_cost.seconds))
        if size > GROWN * max((rows for rows, _ in self._measured), default=0.0):
            # With its fixed cost, a small range takes more time for each row: measurements of small
            # ranges would keep the next ones small.
            self._measured.clear()
        self._measured.append((size, sum(counts) / seconds))
        self._largest = max(self._largest, *counts) if seconds / len(counts) < target else max(counts)
        wanted = round(median_high(speed for _, speed in self._measured) * target)
        self._rows = max(1, min(wanted, int(GROWTH_FACTOR * self._largest), MOST_ROWS_OF_RANGE))

    def lend_target(self, seconds: float | None) -> None:
        """Make the next ranges shorter for now, for the sake of the database's other users.

        Args:
            seconds: Longest time that a range should take; None: the user's target again. It is
                not undercut by twice the fixed cost, so that a range does not spend most of its
                time on that. Before a range was measured, the number of rows is cut in proportion.
                Without a target, nothing changes.
        """
        self._lent = seconds
        if self._target is not None and not self._measured:
            scale = 1.0 if seconds is None else min(1.0, seconds / self._target)
            self._rows = max(1, int(scale * self._first_rows))

    def position(self, key: Any) -> float | None:
        """Return the fraction of the keys up to a range's end; None where keys are no numbers."""
        return self._fraction(key[1])

    def extent(self, key: Any) -> float | None:
        """Return the fraction of all keys that a range has; None where keys are no numbers."""
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
            if hi is None:  # fewer rows than a whole range are left: this is the last one
                yield self._job(lo, self._ends[1], count)
                return  # by hand: the loop's comparison would not end at the key NaN
            yield self._job(lo, hi, count)
            lo = hi

    def _job(self, lo: Any, hi: Any, count: int) -> Job:
        key = (lo, hi)
        if len(self._open) < MOST_UNMEASURED:
            self._open[key] = count
        return Job(key, self._range(lo, hi))
