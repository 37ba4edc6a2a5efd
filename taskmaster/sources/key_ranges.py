"""Key ranges as jobs, whatever database they are of: how many rows the next one has, where it ends,
and its halves.

What ``taskmaster.postgres.ranges`` and ``taskmaster.django_orm.ranges`` have in common; they say
how a border is read and what the callback gets. How many rows a range has follows the time that
ranges take in the workers; so a resumed run could not draw the same borders again, and has them
from its state (``parked``, see ``taskmaster.master.broker.write_ahead``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import Job

__all__ = ["RangeSource", "share"]

MOST = 1_000_000  # rows of a range
GROWTH = 2.0  # a range has at most so many times the rows of the largest that was measured
RECENT = 0.3  # weight of the newest measurement
OPEN = 10_000  # ranges whose number of rows is remembered until they are measured


def share(first: float, last: float, at: float) -> float | None:
    """Which part of the way from one number to another lies behind; None where one cannot reckon
    with them.
    """
    if first == last or not all(map(math.isfinite, (first, last, at))):
        return None  # NaN and infinity are keys like others
    return (at - first) / (last - first)


class RangeSource(ABC):
    """A source with ``iterate(last)``, as ``taskmaster.master.reading.source`` wants it; a job's
    key is (lo, hi).

    Args:
        rows: of the first ranges.
        target: seconds that a range should take in a worker; None: the number of rows stays as it
            is.

    Raises:
        UsageError: an argument makes no sense.
    """

    parked = True

    def __init__(self, rows: int, target: float | None) -> None:
        if type(rows) is not int or rows < 1:
            raise UsageError(
                f"rows={rows!r}: give a whole number of rows, 1 or more. From the command line comes text."
            )
        if target is not None and (type(target) not in (int, float) or not 0 < target < math.inf):
            raise UsageError(
                f"target={target!r}: give the seconds that a range should take, or None to leave all ranges as large. "
                "From the command line comes text."
            )
        self._rows = rows
        self._target = target
        self._ends: tuple[Any, Any] | None = None
        self._fixed = False
        self._speed: float | None = None  # rows a second, in a worker
        self._largest = rows  # rows of a range that was measured
        self._open: dict[Any, int] = {}  # by key: how many rows a range has that was not measured yet

    # -- what the master calls ---------------------------------------------------------------------

    def fix(self, bound: Any) -> Any:
        """Decide where the run ends, or take over what was decided.

        Args:
            bound: what this gave when the run was new.

        Returns:
            The lowest and the highest key; None if there is no row.
        """
        if bound is not None:
            low, high = bound
            self._check_end(low)
            self._check_end(high)
            self._ends = (low, high)
        else:
            low, high = (self._border(None, None, 1, descending=way) for way in (False, True))
            self._ends = None if low is None or high is None else (low, high)
        self._fixed = True
        return self._ends

    def iterate(self, last: Any) -> Iterator[Job]:
        """The ranges after one, or all of them."""
        begin = None if last is None else self._parsed(last)[1]
        if not self._fixed:
            self.fix(None)
        return self._drawn(begin)

    def split(self, key: Any) -> list[Job]:
        """A range in two parts, halves if that can be; empty if it has one row, or none, or all
        have the same key.
        """
        lo, hi = self._parsed(key)
        place = count = self._count(lo, hi)  # what was drawn may have lost rows since
        while place > 1:
            # Where many rows have the highest key, the border at the half is that key: those before
            # it are still to be told apart. Whether it is, the database says: NaN is not equal to
            # itself in Python, and A may be a there.
            place //= 2
            middle = self._border(lo, hi, place)
            above = 0 if middle is None else self._count(middle, hi)
            if above:
                self._open.pop(key, None)
                return [self._job(lo, middle, max(place, count - above)), self._job(middle, hi, above)]
        return []  # rows with one key cannot be told apart by it

    def took(self, jobs: Sequence[Any], seconds: float) -> None:
        """Ranges were done, one after the other: the next ones get as many rows as make the
        target.
        """
        counts = [self._open.pop(key, 0) for key in jobs]
        if self._target is None or not all(counts) or seconds <= 0:
            return  # of a range from an earlier session nobody knows how many rows it has
        speed = sum(counts) / seconds
        self._speed = speed if self._speed is None else (1 - RECENT) * self._speed + RECENT * speed
        self._largest = max(self._largest, *counts) if seconds / len(counts) < self._target else max(counts)
        wanted = int(self._speed * self._target)
        self._rows = max(1, min(wanted, int(GROWTH * self._largest), MOST))

    def position(self, key: Any) -> float | None:
        """Which share of the keys lies up to a range's end; None where one cannot reckon with
        them.
        """
        return self._place(key[1])

    def extent(self, key: Any) -> float | None:
        """Which share of the keys is in a range; None where one cannot reckon with them."""
        lo, hi = key
        end = self._place(hi)
        begin = 0.0 if lo is None else self._place(lo)
        return None if begin is None or end is None else end - begin

    # -- what the database says --------------------------------------------------------------------

    @abstractmethod
    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        """The key of the row that is so many rows above ``lo``; None if there are fewer up to
        ``hi``.
        """

    @abstractmethod
    def _count(self, lo: Any, hi: Any) -> int:
        """How many rows are above ``lo`` and up to ``hi``."""

    @abstractmethod
    def _range(self, lo: Any, hi: Any) -> Any:
        """What the callback gets."""

    @abstractmethod
    def _check_end(self, key: Any) -> None:
        """See that a key is one of this source's.

        Raises:
            UsageError: it is not.
        """

    @abstractmethod
    def _reckons(self) -> bool:
        """Whether keys are single numbers."""

    # -- inside ------------------------------------------------------------------------------------

    def _place(self, end: Any) -> float | None:
        if self._ends is None or not self._reckons():
            return None
        low, high, at = (float(one) for one in (*self._ends, end))
        return share(low, high, at)

    def _parsed(self, key: Any) -> tuple[Any, Any]:
        """The two ends of a range.

        Raises:
            UsageError: it is none of this source's.
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
        if len(self._open) < OPEN:
            self._open[key] = count
        return Job(key, self._range(lo, hi))
