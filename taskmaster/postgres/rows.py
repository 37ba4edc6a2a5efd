"""The rows of a table as jobs, read by pages along a key.

Called by the user's module; the master iterates. Each page is a query of its own that begins after
the last key, which an index answers without a look at what lies before. The server alone compares
keys: whatever its types and collations say is the order.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import Job
from taskmaster.postgres.catalog import Column, Table, estimate, look_up, plan_of
from taskmaster.postgres.prefetch import ahead
from taskmaster.postgres.statements import Dsn, Reading, durations
from taskmaster.sources.database_retry import TooSlow
from taskmaster.sources.key_ranges import share

__all__ = ["Rows", "rows"]

logger = logging.getLogger(__name__)

BYTES = 16 * 1024 * 1024  # of a page, about; three of them may be there at once
FIRST = 100  # rows of the first page, before it is known how large they are
SAMPLE = 8  # rows of a page by which that is known
POLL = 1.0  # seconds between two looks for new rows, with ``follow``
# Settings with which a plan reads along an index, if there is any that it can read along.
ORDERED = "".join(f"SET LOCAL enable_{what} = off;" for what in ("seqscan", "bitmapscan", "sort"))


def rows(  # noqa: PLR0913  # what a query is made of, each part once
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
    """The rows of a table as jobs.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a connection of any DB-API
            driver that takes ``%s``. Nothing is connected before the master reads.
        table: as in SQL: ``"comments"``, ``"public.comments"``, ``'"Odd name"'``.
        key: the column, or the columns, of a unique key without NULLs that an index leads along.
        columns: what the callback gets: None, the key (a tuple, if it has several columns); a name,
            the value of that column; several names, a tuple of their values.
        where: a condition, as in SQL; or one with ``%s``, and the values for these; ``%%`` is a
            percent sign there.
        chunk: most rows of a page. The first one has at most 100, and those of wide rows have
            fewer, so that a page has about 16 MB; the master may hold three.
        descending: from the highest key to the lowest.
        follow: go on with rows that come later, until the run is stopped. A row that becomes
            visible after one with a higher key was read is not seen any more: with a sequence, that
            happens to long transactions.
        statement_timeout: seconds that a page may take on the server; one that takes longer is
            tried again with fewer rows.
        patience: seconds for which a database that cannot be read is tried again before the run
            stops, to be resumed.

    Raises:
        UsageError: an argument makes no sense. What the server has against the table or the key is
            said when the master starts to read.

    Example::

        get_jobs = postgres.rows("dbname=blog", "comments", columns=["id", "author_id"])

        def handle_job(row):
            comment_id, author_id = row
    """
    if type(chunk) is not int or chunk < 1:
        raise UsageError(f"chunk={chunk!r}: give a whole number of rows, 1 or more. From the command line comes text.")
    durations(statement_timeout=statement_timeout, patience=patience)
    if follow and descending:
        raise UsageError("follow=True goes on with rows that come later, which with descending=True are those before.")
    condition, values = where if isinstance(where, tuple) else (where, None)
    if condition is not None and values is None:
        condition = condition.replace("%", "%%")
    elif condition is not None and values is not None:
        _check_places(condition, tuple(values))
    reading = (dsn, patience, statement_timeout)
    return Rows(
        reading, table, key, columns, condition, tuple(values or ()), chunk, descending=descending, follow=follow
    )


def _check_places(condition: str, values: tuple[Any, ...]) -> None:
    """See that a condition has a place for each value: drivers differ in what they say, and none
    names the cure.
    """
    try:
        condition % tuple("" for _ in values)
    except (TypeError, ValueError, IndexError) as exc:
        raise UsageError(
            f"where={condition!r:.200} does not fit its {len(values)} values ({exc}): write %s for each of them, "
            "and %% for a percent sign, as in LIKE 'a%%'."
        ) from None


class Rows:
    """What ``rows`` returns: a source with ``iterate(last)``, as
    ``taskmaster.master.reading.source`` wants it.
    """

    def __init__(  # noqa: PLR0913
        self,
        reading: tuple[Dsn, float, float],
        table: str,
        key: str | Sequence[str],
        columns: str | Sequence[str] | None,
        condition: str | None,
        values: tuple[Any, ...],
        chunk: int,
        *,
        descending: bool,
        follow: bool,
    ) -> None:
        self._reading_of = reading
        self._reading = Reading(*reading)
        self._name = table
        self._key = key
        self._wanted = columns
        self._condition = condition
        self._values = values
        self._chunk = chunk
        self._descending = descending
        self._follow = follow
        self._table: Table | None = None
        self._ends: tuple[Any, Any] | None = None  # lowest and highest key when the run was new
        self._fixed = False
        self._paging = False
        self._key_places: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"rows of {self._name} by {self._key}"

    # -- what the master calls ---------------------------------------------------------------------

    def fix(self, bound: Any) -> Any:
        """Decide which rows belong to the run, or take over what was decided: those up to the
        highest key there is.

        Args:
            bound: what this gave when the run was new.

        Returns:
            The lowest and the highest key; None if the table has no row.
        """
        table = self._found()
        if bound is not None:
            low, high = bound
            table.values_of(low), table.values_of(high)
            self._ends = (low, high)
        else:
            ends = [self._end_of(table, descending=descending) for descending in (False, True)]
            self._ends = None if None in ends else (ends[0], ends[1])
        self._fixed = True
        return self._ends

    def iterate(self, last: Any) -> Iterator[Any]:
        """The rows after a key, or all of them."""
        table = self._found()
        if not self._fixed:
            self.fix(None)
        self._warn(table)
        return self._pages(table, last)

    def total(self) -> int | None:
        """About how many rows there are, from the statistics; in a connection of its own, as
        another thread asks.
        """
        if self._follow:
            return None  # nobody knows how many will come
        reading = Reading(*self._reading_of)
        try:
            table = self._table or look_up(reading, self._name, self._key)
            conditions, values = self._conditions(table, None)
            return estimate(reading, f"SELECT FROM {table.sql}{conditions}", values)
        finally:
            reading.close()

    def position(self, key: Any) -> float | None:
        """Which share of the keys lies up to one; None where one cannot reckon with them."""
        if self._table is None or self._ends is None or self._follow:
            return None
        if len(self._table.key) > 1 or not self._table.key[0].number:
            return None
        low, high, at = (float(end) for end in (*self._ends, key))
        return share(high, low, at) if self._descending else share(low, high, at)

    def job_key(self, job: Any) -> Any:
        """The key of a row that has its key in it."""
        if type(job) is Job:
            return job.key
        if not self._key_places:
            return job
        return (
            tuple(job[place] for place in self._key_places) if len(self._key_places) > 1 else job[self._key_places[0]]
        )

    def close(self) -> None:
        """Nothing more is asked. The thread that fetches pages closes its connection itself: taken
        away from it in the middle of one, it would be taken for a lost one, and opened again.
        """
        if not self._paging:
            self._reading.close()

    # -- inside ------------------------------------------------------------------------------------

    def _found(self) -> Table:
        if self._table is None:
            self._table = look_up(self._reading, self._name, self._key)
            for name in self._names(self._table):
                if name not in self._table.columns:
                    raise UsageError(
                        f"{self._table.quoted} has no column {name!r}; it has {', '.join(self._table.columns)}."
                    )
        return self._table

    def _names(self, table: Table) -> tuple[str, ...]:
        """The columns that the callback gets."""
        if self._wanted is None:
            return tuple(column.name for column in table.key)
        return (self._wanted,) if isinstance(self._wanted, str) else tuple(self._wanted)

    def _end_of(self, table: Table, *, descending: bool) -> Any:
        # Without the condition: no index may fit that, and the first row would be looked for in the
        # whole table.
        order = table.order(descending=descending)
        found = self._reading.fetch(f"SELECT {table.key_selected} FROM {table.sql} ORDER BY {order} LIMIT 1")
        return table.key_of(found[0]) if found else None

    def _conditions(
        self, table: Table, after: Any, until: Any = None, *, conditioned: bool = True
    ) -> tuple[str, list[Any]]:
        """The WHERE of a page, and its values."""
        parts: list[str] = []
        values: list[Any] = []
        if self._condition is not None and conditioned:
            parts.append(f"({self._condition}\n)")  # it may end with a comment
            values += self._values
        if after is not None:
            parts.append(f"{table.key_sql} {'<' if self._descending else '>'} {table.key_placed}")
            values += table.values_of(after)
        if until is None and self._ends is not None and not self._follow:
            until = self._ends[0] if self._descending else self._ends[1]
        if until is not None:
            parts.append(f"{table.key_sql} {'>=' if self._descending else '<='} {table.key_placed}")
            values += table.values_of(until)
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), values

    def _query(
        self, table: Table, after: Any, count: int, extra: Sequence[Column], until: Any = None
    ) -> tuple[str, list[Any]]:
        """A page, as SQL; the key is selected beside the row where it cannot be taken from it."""
        where, values = self._conditions(table, after, until)
        what = [table.columns[name].sql for name in self._names(table)] + [column.selected for column in extra]
        order = table.order(descending=self._descending)
        return f"SELECT {', '.join(what)} FROM {table.sql}{where} ORDER BY {order} LIMIT {count}", values

    def _pages(self, table: Table, last: Any) -> Iterator[Any]:
        """Work out where the key is in a row, and read page after page."""
        names = self._names(table)
        # An int or a text is its own key; of all else the server's text is.
        inside = all(column.plain and column.name in names for column in table.key)
        bare = len(names) == 1 and (self._wanted is None or isinstance(self._wanted, str))
        places = tuple(names.index(column.name) for column in table.key) if inside else ()
        self._key_places = () if bare else places
        extra = () if inside else table.key
        self._paging = True
        for page in ahead(self._read(table, last, places, extra)):
            if inside and not bare:
                yield from page
            elif inside:
                yield from [row[0] for row in page]
            else:
                width = len(names)
                yield from [Job(table.key_of(row[width:]), row[0] if bare else row[:width]) for row in page]

    def _read(
        self, table: Table, after: Any, places: tuple[int, ...], extra: Sequence[Column]
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Page after page; one that is too slow is asked for again, so that the server looks at
        fewer rows.
        """
        quick, small = self._chunk, FIRST  # how many rows can be looked at in time, and how many are not too large
        width, narrow = len(self._names(table)), False
        try:
            while self._ends is not None or self._follow:
                count = min(quick, small)
                # Nothing less can be asked for. A condition may have the server look at more than
                # it gives.
                least = quick == 1 and (narrow or self._condition is None)
                try:
                    until = self._border(table, after, quick) if narrow else None
                    page = self._reading.fetch(*self._query(table, after, count, extra, until), may_be_slow=least)
                except TooSlow as exc:
                    # With a condition that few rows fit, any number of them may lie between two
                    # that do.
                    narrow = self._condition is not None
                    quick = max(1, (quick if narrow else count) // 4)
                    logger.warning(
                        "a page of %s was too slow, and is asked for again with %d rows: %s", self, quick, exc
                    )
                    continue
                full = len(page) >= count
                if page:
                    small = _fitting(page)
                    after = table.key_of([page[-1][at] for at in places] if places else page[-1][width:])
                elif until is None:
                    time.sleep(POLL if self._follow else 0)
                if until is not None and not full:
                    after = until
                yield page
                if not full and until is None and not self._follow:
                    return
                # Slowly: where a page was too slow, the next size that is costs as much again.
                quick = min(self._chunk, quick + -(-quick // 8))
        finally:
            self._reading.close()

    def _border(self, table: Table, after: Any, count: int) -> Any:
        """The key of the row that is so many rows further, whether it fits the condition or not;
        None at the end.
        """
        where, values = self._conditions(table, after, conditioned=False)
        order = table.order(descending=self._descending)
        found = self._reading.fetch(
            f"SELECT {table.key_selected} FROM {table.sql}{where} ORDER BY {order} OFFSET {count - 1} LIMIT 1",
            values,
            may_be_slow=count == 1,
        )
        return table.key_of(found[0]) if found else None

    def _warn(self, table: Table) -> None:
        """Say it when no index has just the rows that ``where`` asks for, in the order of the
        key.
        """
        if self._condition is None:
            return
        sql, values = self._query(table, None, self._chunk, ())
        # A small table is sorted whatever there is: what counts is what the server can do when it
        # may not.
        if not any(
            "Filter" in node or "Sort" in node["Node Type"] for node in _nodes(self._plan(sql, values, ORDERED))
        ):
            return
        matching, bounds = self._conditions(table, None)
        wanted = estimate(self._reading, f"SELECT FROM {table.sql}{matching}", bounds)
        every = estimate(self._reading, f"SELECT FROM {table.sql}", ())
        condition = self._reading.written_out(self._condition, self._values)
        logger.warning(
            "no index covers the condition (%s) in the order of the key: the server looks at about %.3g rows of %s "
            "for each that it gives. The plan is: %s. Where that is too many, an index mends it: %s WHERE %s",
            condition,
            max(1, every) / max(1, min(wanted, every)),
            table.quoted,
            " <- ".join(_step(node) for node in _nodes(self._plan(sql, values))),
            table.index(),
            condition,
        )

    def _plan(self, sql: str, values: Sequence[Any], local: str = "") -> dict[str, Any]:
        return plan_of(self._reading, sql, values, local)


def _fitting(page: Sequence[tuple[Any, ...]]) -> int:
    """How many rows make a page, if they are as large as a few of this one."""
    some = page[:: -(-len(page) // SAMPLE)]
    return max(1, BYTES * len(some) // sum(map(_bytes_of, some)))


def _bytes_of(value: Any) -> int:
    """What a value takes in memory, with all that is in it."""
    parts = chain.from_iterable(value.items()) if isinstance(value, dict) else value
    inside = parts if isinstance(value, tuple | list | dict) else ()
    return sys.getsizeof(value) + sum(map(_bytes_of, inside))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _step(node: dict[str, Any]) -> str:
    what = f"{node['Node Type']}{' on ' + node['Index Name'] if 'Index Name' in node else ''}"
    return what + (f", filter {node['Filter']}" if "Filter" in node else "")
