"""Rows in pages in the order of a key (keyset pagination), for any database: how many rows the next
page has, and when reading ends.

``taskmaster.postgres.rows`` and ``taskmaster.django_orm.rows`` have this in common; they themselves
read a page. A page that takes the server too long is asked for again with fewer rows.
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
"""About how many bytes a page takes in memory; the master may hold three pages."""

FIRST_PAGE_ROWS = 100
"""Rows of the first page, while the size of a row is unknown."""

SAMPLED_ROWS = 8
"""Rows of a page that are measured to estimate the size of all."""

SHRINK = 4  # after a page that was too slow, the next one has this many times fewer rows
GROWTH = (
    8  # after a page in time, the next one has an eighth more rows: slowly, as one that is too slow costs a time-out
)


@record()
class RowsPage:
    """The result of one query.

    Attributes:
        rows: The rows, in the order of their keys.
        after: The key after which the next page begins; None: the same as for this page.
        last: Whether no page follows.
    """

    rows: list[Any]
    after: Any
    last: bool


class UnreadableRow:
    """A placeholder for a row that the driver cannot turn into Python values; only its job fails.

    A worker that unpickles it gets an exception, so that no callback is called with it.

    Args:
        why: The text of the exception.
    """

    def __init__(self, why: str) -> None:
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self.why,)


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


class KeysetSource(BoundedSource):
    """A source of rows; see ``taskmaster.master.reading.source`` for its methods.

    Args:
        chunk: Most rows of a page.
        descending: Whether rows are read from the highest key to the lowest.
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
            after: The key after which the page begins; None: it begins with the first row.
            rows: Most rows that the page may have.
            within: Most rows that the server may read for it, where the query can be limited to a
                stretch of the keys.

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
        """Yield the rows page by page."""
        quick = self._chunk  # how many rows the server can read in time
        while True:
            count = min(quick, self._most_rows())
            try:
                page = self._page(after, count, within=quick)
            except TooSlow as exc:
                quick = max(1, self._was_too_slow(count, quick) // SHRINK)
                fewer = show_count(quick, "row")
                logger.warning("a page of %s was too slow, and is asked for again with %s: %s", self, fewer, exc)
                continue
            # Before the rows are yielded: a deleted object has no key any more.
            after, last, rows = page.after if page.after is not None else after, page.last, page.rows
            del page
            yield rows
            del rows
            if last:
                return
            quick = min(self._chunk, quick + -(-quick // GROWTH))
