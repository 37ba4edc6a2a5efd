"""The bounds of a run over a table: its lowest and highest key, and how far a key is between them.

Sources of key ranges and of rows have this in common. The bounds are fixed when the run begins.
Rows that are added later above the highest key do not belong to the run.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.runtime.log import clean_logger

__all__ = ["BoundedSource", "fraction"]

logger = clean_logger(__name__)

BIGINT_LIMIT = 2**63  # a bigint is smaller


def fraction(first: float, last: float, at: float) -> float | None:
    """Return at which fraction of the way from ``first`` to ``last`` the number ``at`` is.

    None if one of them is NaN or infinite, which keys may be, or if the ends are equal.
    """
    if first == last or not all(map(math.isfinite, (first, last, at))):
        return None
    return (at - first) / (last - first)


class BoundedSource(ABC):
    """A source whose lowest and highest key are fixed when the run begins.

    A subclass reads the ends from its database, and calls ``bounds`` before it reads rows if the
    master has not.
    """

    def __init__(self) -> None:
        self._ends: tuple[Any, Any] | None = None  # lowest and highest key when the run began; None without rows
        self._fixed = False  # whether ``bounds`` was called
        self._names: tuple[str, str] | None = None  # SQL names of table and key in PostgreSQL, once they are known

    # -- what the master calls ---------------------------------------------------------------------

    def bounds(self, bound: Any) -> Any:
        """Decide which rows belong to the run; in a resumed run, take over what was decided.

        Args:
            bound: What this returned when the run began; None in a new run.

        Returns:
            The lowest and the highest key and, if it is known, what their order depends on; None if
            there is no row.

        Raises:
            UsageError: The bound comes from another source, or its keys have another order now.
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
        """Return whether rows were added above the run's end since it began; None if the end is not
        fixed yet. The thread that iterates calls this.
        """
        if not self._fixed:
            return None
        if self._ends is None:
            return self._end(descending=True) is not None
        return self._is_below_another(self._ends[1])

    def probed(self) -> tuple[str, str, int, int] | None:
        """Return what the probe of a pace needs to read this table: its name and its key as SQL of
        PostgreSQL, and the lowest and highest key. None if they are not known yet, or if keys are
        no whole numbers. Another thread calls this: it uses no connection.
        """
        ends, names = self._ends, self._names_in_sql()
        if ends is None or names is None or not all(type(end) is int and abs(end) < BIGINT_LIMIT for end in ends):
            return None
        low, high = sorted(ends)
        return (*names, low, high)

    # -- what the database says --------------------------------------------------------------------

    def _names_in_sql(self) -> tuple[str, str] | None:
        """Return the names of the table and of its key in PostgreSQL; None with another database,
        or if they are not known yet.
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
        """Check that a key from an earlier session is a key of this source.

        Raises:
            UsageError: It is a key of another source.
        """

    @abstractmethod
    def _reckons(self) -> bool:
        """Return whether keys are single numbers."""

    def _reads_all(self) -> bool:
        """Return whether the source reads all rows of its table, so that no callback can take a row
        out of it by changing the row.
        """
        return True

    def _order(self) -> str | None:
        """Return what the order of the keys depends on, such as their types; None if unknown."""
        return None

    # -- inside ------------------------------------------------------------------------------------

    def _warn_of_older_copy(self, high: Any) -> None:
        """Warn if the last rows of the run are gone, as in a database that was restored from an
        older copy: what callbacks have written to other rows may be gone, too.
        """
        if not self._reads_all():
            return
        newest = self._end(descending=True)
        if newest is None or (newest != high and not self._is_below_another(high)):
            logger.warning(
                "the %s ends at key %s, and ended at %s when this run was new: its last rows were deleted since, or "
                "an older copy of the database was restored. In such a copy, what was done to rows up to the last key "
                "may be gone, and the run does not read them again: begin anew with --reset.",
                repr(self),
                repr(newest),
                repr(high),
            )

    def _check_order(self, former: str | None, order: str | None) -> None:
        if former is not None and order is not None and former != order:
            raise UsageError(
                f"The keys of the {self!r} are in another order than when this run was new: it was that of {former}, "
                f"and is that of {order} now, so that rows before the last key may not have been read, and rows after "
                "it may have been read already. Start a new run with --reset, or change the key back."
            )

    def _fraction(self, key: Any, *, descending: bool = False) -> float | None:
        if self._ends is None or not self._reckons():
            return None
        low, high, at = (float(one) for one in (*self._ends, key))
        return fraction(high, low, at) if descending else fraction(low, high, at)
