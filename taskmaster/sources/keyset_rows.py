"""Rows by pages along a key, whatever database they are of: how many rows the next page has, and
where the walk ends.

What ``taskmaster.postgres.rows`` and ``taskmaster.django_orm.rows`` have in common; they say how a
page is read. A page that takes the server too long is asked for again with fewer rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NoReturn

from taskmaster.records import record
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_retry import TooSlow
from taskmaster.sources.key_bounds import BoundedSource
from taskmaster.units import show_count

__all__ = ["FIRST_PAGE_ROWS", "PAGE_BYTES", "SAMPLED_ROWS", "KeysetSource", "RowsPage", "UnreadableRow"]

logger = clean_logger(__name__)

PAGE_BYTES = 8 * 1024 * 1024
"""About what a page takes in memory; the master may hold three pages."""

FIRST_PAGE_ROWS = 100
"""Rows of the first page, while the size of a row is unknown."""

SAMPLED_ROWS = 8
"""Rows of a page that are weighed to estimate the size of all."""

SHRINK = 4  # a page that was too slow makes the next one this many times smaller
GROWTH = 8  # part of a page's rows by which the next one has more: what was too slow once costs as much again


@record()
class RowsPage:
    """What one query has given.

    Attributes:
        rows: The rows, in the order of their keys.
        after: The key after which the next page begins; None: where this one began.
        last: No page follows.
    """

    rows: list[Any]
    after: Any
    last: bool


class UnreadableRow:
    """Stands for a row that the driver cannot turn into values of Python; its job fails alone.

    It is raised where a worker opens the job, so that no callback meets it.

    Args:
        why: What the exception says.
    """

    def __init__(self, why: str) -> None:
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self.why,)


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


class KeysetSource(BoundedSource):
    """A source with ``iterate(last)``, as ``taskmaster.master.reading.source`` wants it.

    Args:
        chunk: Most rows of a page.
        descending: From the highest key to the lowest.
    """

    def __init__(self, chunk: int, *, descending: bool) -> None:
        super().__init__()
        self._chunk = chunk
        self._descending = descending

    def position(self, key: Any) -> float | None:
        """Return the fraction of the keys up to one, 0 to 1; None where keys are no numbers."""
        return self._fraction(key, descending=self._descending)

    # -- what the database says --------------------------------------------------------------------

    @abstractmethod
    def _page(self, after: Any, rows: int, *, within: int) -> RowsPage:
        """Read a page.

        Args:
            after: The key after which it begins; None: at the beginning.
            rows: Most of them that it may have.
            within: Most rows that the server may look at, if it can be kept to a stretch of them.

        Raises:
            TooSlow: The server took too long, and fewer rows can be asked for.
        """

    def _most_rows(self) -> int:
        """Return how many rows the next page may have for the sake of memory."""
        return self._chunk

    def _was_too_slow(self, rows: int, within: int) -> int:
        """Return the number of rows that was too many for the server."""
        return min(rows, within)

    # -- inside ------------------------------------------------------------------------------------

    def _walk(self, after: Any) -> Iterator[list[Any]]:
        """Read page after page."""
        quick = self._chunk  # how many rows the server can look at in time
        while True:
            count = min(quick, self._most_rows())
            try:
                page = self._page(after, count, within=quick)
            except TooSlow as exc:
                quick = max(1, self._was_too_slow(count, quick) // SHRINK)
                fewer = show_count(quick, "row")
                logger.warning("a page of %s was too slow, and is asked for again with %s: %s", self, fewer, exc)
                continue
            # Now: a callback may delete an object, and then it has no key any more.
            after, last, rows = page.after if page.after is not None else after, page.last, page.rows
            del page
            yield rows
            del rows
            if last:
                return
            quick = min(self._chunk, quick + -(-quick // GROWTH))
