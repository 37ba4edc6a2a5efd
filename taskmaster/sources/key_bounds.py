"""Where a run over a table ends, and how far a key is on the way there.

What key ranges and rows by pages have in common. A run has an end, which is fixed when it is new:
the highest key there is then. Rows that come later, above that key, are none of the run's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.runtime.log import clean_logger

__all__ = ["BoundedSource", "fraction"]

logger = clean_logger(__name__)

MOST_INTEGER = 2**63  # that a bigint holds


def fraction(first: float, last: float, at: float) -> float | None:
    """Return the fraction of the way from ``first`` to ``last`` at which ``at`` lies.

    None where one cannot reckon with them: NaN and infinity are keys like others.
    """
    if first == last or not all(map(math.isfinite, (first, last, at))):
        return None
    return (at - first) / (last - first)


class BoundedSource(ABC):
    """A source whose lowest and highest key are fixed when the run is new.

    A subclass says how the ends are read, and calls ``bounds`` before it reads if nobody else has.
    """

    def __init__(self) -> None:
        self._ends: tuple[Any, Any] | None = None  # lowest and highest key when the run was new
        self._fixed = False
        self._names: tuple[str, str] | None = None  # of a table of PostgreSQL and its key, once it was looked up

    # -- what the master calls ---------------------------------------------------------------------

    def bounds(self, bound: Any) -> Any:
        """Decide which rows belong to the run, or take over what was decided.

        Args:
            bound: What this returned when the run was new; None if it is.

        Returns:
            The lowest and the highest key, and the order that they are in, if that can be told;
            None if there is no row.

        Raises:
            UsageError: The bound is none of this source's, or its keys are in another order now.
        """
        order = self._order()
        if bound is not None:
            low, high, *former = bound
            self._check_order(former[0] if former else None, order)
            self._check_end(low)
            self._check_end(high)
            self._ends = (low, high)
            self._warn_of_older_copy(high)
        else:
            low, high = (self._end(descending=way) for way in (False, True))
            self._ends = None if low is None or high is None else (low, high)
        self._fixed = True
        if self._ends is None:
            return None
        return self._ends if order is None else (*self._ends, order)

    def position(self, key: Any) -> float | None:
        """Return the fraction of the keys up to one, 0 to 1; None where keys are no numbers."""
        return self._fraction(key)

    def later(self) -> bool | None:
        """Return whether there are rows above the run's end, which came after it was new.

        None as long as that end is not fixed. Asked in the thread that iterates.
        """
        if not self._fixed:
            return None
        if self._ends is None:
            return self._end(descending=True) is not None
        return self._is_below_another(self._ends[1])

    def probed(self) -> tuple[str, str, int, int] | None:
        """Return how others read this table, for the probe of a pace: its name and its key as SQL
        of PostgreSQL, and the lowest and highest key. None where that is not known yet, or where
        keys are no whole numbers. Asked in another thread, which must not use a connection.
        """
        ends, names = self._ends, self._names_in_sql()
        if ends is None or names is None or not all(type(end) is int and abs(end) < MOST_INTEGER for end in ends):
            return None
        low, high = sorted(ends)
        return (*names, low, high)

    # -- what the database says --------------------------------------------------------------------

    def _names_in_sql(self) -> tuple[str, str] | None:
        """Return the names of the table and of its key in PostgreSQL; None elsewhere, or if they
        are not known yet.
        """
        return self._names

    @abstractmethod
    def _end(self, *, descending: bool) -> Any:
        """Return the lowest key there is, or the highest; None if there is no row."""

    @abstractmethod
    def _is_below_another(self, key: Any) -> bool:
        """Return whether a row has a higher key."""

    @abstractmethod
    def _check_end(self, key: Any) -> None:
        """See that a key which an earlier session has noted is one of this source's.

        Raises:
            UsageError: It is not.
        """

    @abstractmethod
    def _reckons(self) -> bool:
        """Return whether keys are single numbers."""

    def _reads_all(self) -> bool:
        """Return whether its ends are those of all rows, whatever callbacks have done to them."""
        return True

    def _order(self) -> str | None:
        """Return what the order of the keys depends on, such as their types; None if unknown."""
        return None

    # -- inside ------------------------------------------------------------------------------------

    def _warn_of_older_copy(self, high: Any) -> None:
        """Warn if the last rows of when the run was new are gone, as in a database that was
        restored: what callbacks have done to the others may be gone, too.
        """
        if not self._reads_all():
            return
        newest = self._end(descending=True)
        if newest is None or (newest != high and not self._is_below_another(high)):
            logger.warning(
                "the %s ends at key %s, and ended at %s when this run was new: its last rows were deleted since, or "
                "an older copy of the database was restored. Of such a copy, rows up to the last key are not read "
                "again, although what was done to them is gone: begin anew with --reset.",
                repr(self),
                repr(newest),
                repr(high),
            )

    def _check_order(self, former: str | None, order: str | None) -> None:
        if former is not None and order is not None and former != order:
            raise UsageError(
                f"The keys of the {self!r} are in another order than when this run was new: it was that of {former}, "
                f"and is that of {order} now, so that what lies before the last key was not read, or was read already. "
                "Start a new run with --reset, or change the key back."
            )

    def _fraction(self, key: Any, *, descending: bool = False) -> float | None:
        if self._ends is None or not self._reckons():
            return None
        low, high, at = (float(one) for one in (*self._ends, key))
        return fraction(high, low, at) if descending else fraction(low, high, at)
