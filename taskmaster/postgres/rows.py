"""The rows of a table as jobs, read in pages in the order of a key (keyset pagination).

For the user's module; the master iterates. Each page is a query of its own that begins after the
last key; an index answers it without reading the rows before. Only the server compares keys: the
order is that of its types and collations.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import Job
from taskmaster.postgres.catalog import estimate, look_up, order_now
from taskmaster.postgres.coverage import warn_without_index
from taskmaster.postgres.pages import PageStatements, RowsRequest, Shape, rows_that_fit
from taskmaster.postgres.prefetch import ahead
from taskmaster.postgres.statements import Dsn, SourceConnection, Unreadable, durations
from taskmaster.sources.database_errors import is_of_a_row, said
from taskmaster.sources.keyset_rows import FIRST_PAGE_ROWS, SHRINK, KeysetSource, RowsPage, UnreadableRow
from taskmaster.units import show_count

__all__ = ["Rows", "rows"]

NEW_ROWS_POLL_SECONDS = 1.0  # between two queries for new rows, with ``follow``


def rows(  # noqa: PLR0913  # the parts of a query, each by its name
    dsn: Dsn,
    table: str,
    key: str | Sequence[str] = "id",
    *,
    columns: str | Sequence[str] | None = None,
    where: str | tuple[str, Sequence[Any]] | None = None,
    chunk: int = 10_000,
    descending: bool = False,
    follow: bool = False,
    statement_timeout: float = 60.0,
    patience: float = 3600.0,
) -> Rows:
    """Return the rows of a table as jobs.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a connection of any DB-API
            driver that takes ``%s``. No connection is opened before the master reads.
        table: as in SQL: ``"comments"``, ``"public.comments"``, ``'"Odd name"'``.
        key: the column, or the columns, of a unique key without NULLs, with which an index begins.
        columns: what the callback gets: the key, for None (a tuple, if it has several columns); the
            value of one column, for its name; a tuple of values, for several names.
        where: a condition, as in SQL; or a tuple of a condition with ``%s`` and the values for
            these, in which ``%%`` is a percent sign.
        chunk: most rows of a page. The first page has at most 100, and a page ends with the row
            with which it reaches 8 MB; the master may hold three pages.
        descending: whether to read from the highest key to the lowest.
        follow: whether to go on with rows that are added later, until the run is stopped. A row
            that becomes visible after a row with a higher key was read is missed: with keys from a
            sequence, this happens to rows of long transactions.
        statement_timeout: seconds that a page may take on the server; a page that takes longer is
            tried again with fewer rows.
        patience: seconds for which a database that cannot be read is tried again before the run
            stops, to be resumed.

    Raises:
        UsageError: an argument makes no sense. A table or a key that the server does not accept is
            refused when the master starts to read.

    Example::

        get_jobs = postgres.rows("dbname=blog", "comments", columns=["id", "author_id"])

        def handle_job(row):
            comment_id, author_id = row
    """
    if type(chunk) is not int or chunk < 1:
        raise UsageError(f"chunk={chunk!r}: give a whole number of rows, 1 or more; convert text with int().")
    durations(statement_timeout=statement_timeout, patience=patience)
    if follow and descending:
        raise UsageError("follow=True goes on with rows that come later, which with descending=True are those before.")
    condition, values = _condition(where)
    return Rows(
        RowsRequest(
            dsn=dsn,
            table=table,
            key=key,
            columns=columns,
            condition=condition,
            values=values,
            chunk=chunk,
            descending=descending,
            follow=follow,
            statement_timeout=statement_timeout,
            patience=patience,
        )
    )


def _condition(where: str | tuple[str, Sequence[Any]] | None) -> tuple[str | None, tuple[Any, ...]]:
    """Return the condition with each literal percent sign doubled, and the values of its
    placeholders.
    """
    condition, values = where if isinstance(where, tuple) else (where, None)
    if condition is None:
        return None, tuple(values or ())
    if values is None:
        return condition.replace("%", "%%"), ()
    _check_placeholders(condition, tuple(values))
    return condition, tuple(values)


def _check_placeholders(condition: str, values: tuple[Any, ...]) -> None:
    """Check that a condition has a placeholder for each value.

    Each driver has its own error for that, and none says how to correct it.
    """
    try:
        condition % tuple("" for _ in values)
    except (TypeError, ValueError, IndexError) as exc:
        raise UsageError(
            f"where={condition!r:.200} does not fit its {show_count(len(values), 'value')} ({exc}): write %s for each "
            "of them, and %% for a percent sign, as in LIKE 'a%%'."
        ) from None


class Rows(KeysetSource):
    """The source that ``rows`` returns: see ``taskmaster.master.reading.source``."""

    def __init__(self, request: RowsRequest) -> None:
        super().__init__(request.chunk, descending=request.descending)
        self._request = request
        self._reading = request.reading()
        self._known: PageStatements | None = None  # None until the table was looked up
        self._paging = False  # whether the thread that fetches pages uses the connection
        self._fitting = FIRST_PAGE_ROWS  # most rows of a page, by their size
        self._readable = request.chunk  # most rows of a page, while a row nearby cannot be read
        self._by_stretches = False  # whether each query is limited to a stretch of the keys

    def __repr__(self) -> str:
        return f"rows of {self._request.table} by {self._request.key}"

    # -- what the master calls ---------------------------------------------------------------------

    def iterate(self, last: Any) -> Iterator[Any]:
        """Return the rows after a key; all of them for None."""
        if not self._fixed:
            self.bounds(None)
        warn_without_index(self._reading, self._statements(), self._last_key())
        return self._jobs(last)

    def total(self) -> int | None:
        """Return about how many rows there are, by the server's statistics.

        Another thread calls this: it gets a connection of its own.
        """
        if self._request.follow:
            return None  # how many will come is unknown
        reading = self._request.reading()
        try:
            statements = self._known or self._looked_up(reading)
            where, values = statements.where(None, self._last_key())
            return estimate(reading, f"SELECT FROM {statements.table.sql}{where}", values)
        finally:
            reading.close()

    def position(self, key: Any) -> float | None:
        """Return the fraction of the keys up to one, 0 to 1; None where keys are no numbers."""
        return None if self._request.follow else super().position(key)

    def later(self) -> bool | None:
        """Return whether there are rows above the run's end; None if it has no end."""
        return None if self._request.follow else super().later()

    def job_key(self, job: Any) -> Any:
        """Return the key of a row that has its key in it."""
        if type(job) is Job:
            return job.key
        if self._known is None or self._known.shape.bare:
            return job
        at = self._known.shape.key_at
        return job[at[0]] if len(at) == 1 else tuple(job[one] for one in at)

    def close(self) -> None:
        """Close the connection at the end of the reading.

        The thread that fetches pages closes its connection itself: if another thread closed it in
        the middle of a page, it would count as lost and be opened again.
        """
        if not self._paging:
            self._reading.close()

    # -- what the database says --------------------------------------------------------------------

    def _end(self, *, descending: bool) -> Any:
        # Without the condition: if no index covers it, the server would search the whole table for
        # the first row that fits.
        table = self._statements().table
        order = table.order(descending=descending)
        found = self._one_key(f"SELECT {table.key_selected} FROM {table.sql} ORDER BY {order} LIMIT 1", ())
        self._reading.note_position()
        return found

    def _is_below_another(self, key: Any) -> bool:
        table = self._statements().table
        where, values = table.compared(">", key)
        sql = f"SELECT {table.key_selected} FROM {table.sql} WHERE {where} ORDER BY {table.order()} LIMIT 1"
        return self._one_key(sql, values) is not None

    def _check_end(self, key: Any) -> None:
        self._statements().table.values_of(key)

    def _reckons(self) -> bool:
        # Another thread calls this, which must not use the connection.
        return self._known is not None and len(self._known.table.key) == 1 and self._known.table.key[0].number

    def _order(self) -> str | None:
        return self._statements().table.key_order

    def _page(self, after: Any, rows: int, *, within: int) -> RowsPage:
        if self._ends is None and not self._request.follow:
            return RowsPage([], None, last=True)
        stretch = self._border(after, within) if self._by_stretches else None
        until = self._last_key() if stretch is None else stretch
        # Whether no smaller page can be asked for. With a condition, even a page of one row may
        # have the server read many, unless the keys are limited to a stretch.
        least = within == 1 and (self._by_stretches or self._request.condition is None)
        while True:
            count = min(rows, self._readable)
            try:
                found = self._reading.fetch(*self._statements().page(after, until, count), may_be_slow=least)
                break
            except Exception as exc:
                if not (isinstance(exc, Unreadable) or is_of_a_row(exc)):
                    raise
                if count == 1:
                    return self._unreadable(after, until, exc)
                self._readable = max(1, count // SHRINK)
        self._readable = max(self._readable, 2 * count)
        return self._as_page(found, count, stretch)

    def _as_page(self, found: list[tuple[Any, ...]], count: int, stretch: Any) -> RowsPage:
        """Return a page of the rows that the server sent.

        Args:
            found: the rows.
            count: how many were asked for.
            stretch: the last key of the stretch that was asked for; None: all keys that are left.
        """
        endless = self._request.follow
        if not found:
            if stretch is None and endless:
                time.sleep(NEW_ROWS_POLL_SECONDS)
            return RowsPage([], stretch, last=stretch is None and not endless)
        table, shape = self._statements().table, self._statements().shape
        self._fitting = rows_that_fit(found, of=count)
        # The server ends a page of wide rows early: a short page need not be the last.
        full = len(found) >= count or bool(shape.octets)
        after = table.key_of(shape.key_of(found[-1])) if full or stretch is None else stretch
        return RowsPage(shape.jobs(table, found), after, last=not full and stretch is None and not endless)

    def _most_rows(self) -> int:
        return self._fitting

    def _was_too_slow(self, rows: int, within: int) -> int:
        # If few rows fit the condition, the server may read any number of others between two of
        # them: fewer rows in a page would not help, a stretch of the keys does.
        self._by_stretches = self._request.condition is not None
        return within if self._by_stretches else rows

    # -- inside ------------------------------------------------------------------------------------

    def _statements(self) -> PageStatements:
        if self._known is None:
            self._known = self._looked_up(self._reading)
            table = self._known.table
            self._names = (table.quoted, table.key[0].sql) if self._reckons() else None
        return self._known

    def _looked_up(self, reading: SourceConnection) -> PageStatements:
        table = look_up(reading, self._request.table, self._request.key)
        return PageStatements(self._request, table, Shape.of(table, self._request.columns))

    def _last_key(self) -> Any:
        """Return the key at which the reading ends; None if it has no end."""
        if self._ends is None or self._request.follow:
            return None
        return self._ends[0] if self._descending else self._ends[1]

    def _jobs(self, last: Any) -> Iterator[Any]:
        self._paging = True
        for page in ahead(self._pages(last)):
            yield from page

    def _pages(self, last: Any) -> Iterator[list[Any]]:
        try:
            yield from self._walk(last)
            table = self._statements().table
            self._check_order(table.key_order, order_now(self._reading, table))
        finally:
            self._reading.close()

    def _one_key(self, sql: str, values: Sequence[Any], *, may_be_slow: bool = True) -> Any:
        found = self._reading.fetch(sql, values, may_be_slow=may_be_slow)
        return self._statements().table.key_of(found[0]) if found else None

    def _unreadable(self, after: Any, until: Any, exc: Exception) -> RowsPage:
        """Return a page with the one row that cannot be read, as a job that fails.

        Raises:
            UsageError: its key cannot be read either, or the server cannot evaluate the condition.
        """
        why = (
            str(exc)
            if isinstance(exc, Unreadable)
            else f"The server cannot give this row: {said(exc.__cause__ or exc)}"
        )
        key = self._one_key(*self._statements().keys(after, until, "LIMIT 1"))
        if key is None:
            return RowsPage([], None, last=False)  # the row is gone
        return RowsPage([Job(key, UnreadableRow(why))], key, last=False)

    def _border(self, after: Any, count: int) -> Any:
        """Return the key that is ``count`` rows further, with the rows that do not fit the
        condition counted, too; None if there are fewer.
        """
        limit = f"OFFSET {count - 1} LIMIT 1"
        statement = self._statements().keys(after, self._last_key(), limit, conditioned=False)
        return self._one_key(*statement, may_be_slow=count == 1)
