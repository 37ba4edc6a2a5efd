"""Key ranges of a table as jobs: the master reads nothing but borders, and the workers their rows.

Called by the user's module; the master iterates, the workers get a ``KeyRange``. A billion rows are some hundred
thousand ranges. How many rows a range has follows the time that ranges take in the workers; so a resumed run could not
draw the same borders again, and has them from its state (``parked``, see ``taskmaster.master.plan``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from taskmaster.errors import SourceError, UsageError
from taskmaster.model import Job
from taskmaster.postgres.catalog import Table, look_up, share
from taskmaster.postgres.reading import Dsn, Reading, TooSlow, durations

__all__ = ["KeyRange", "Ranges", "ranges"]

MOST = 1_000_000  # rows of a range
GROWTH = 2.0  # a range has at most so many times the rows of the largest that was measured
RECENT = 0.3  # weight of the newest measurement
OPEN = 10_000  # ranges whose number of rows is remembered until they are measured


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The rows whose key is above ``lo`` and up to ``hi``.

    Attributes:
        lo: the key below the first row, None before the first row of the table; a tuple, if the key has several
            columns. Keys that are neither int nor text are the server's text for them.
        hi: the key of the last row.
        table: the table's name, as SQL.
        key: the key's columns, as SQL.
        types: their types.
        label: what ``ranges`` was given as such.

    Example::

        def handle_job(comments):
            with postgres.connect(DSN) as connection, connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE comments c SET author = u.name FROM users u WHERE u.id = c.author_id "
                    f"AND {comments.where('c.id')}", comments.values,
                )
    """

    lo: Any
    hi: Any
    table: str
    key: tuple[str, ...]
    types: tuple[str, ...]
    label: Any = None

    def where(self, *columns: str) -> str:
        """The condition that chooses these rows, with the placeholders that ``values`` is for.

        Args:
            columns: the key's columns as the statement calls them, as SQL (``"c.id"``); default: as they are.
        """
        names = columns or self.key
        if len(names) != len(self.key):
            raise UsageError(f"The key has the columns {', '.join(self.key)}, and where() was given {len(names)}.")
        left = ", ".join(names) if len(names) == 1 else f"({', '.join(names)})"
        parts = [] if self.lo is None else [f"{left} > {self._placed('lo')}"]
        return " AND ".join([*parts, f"{left} <= {self._placed('hi')}"])

    @property
    def values(self) -> dict[str, Any]:
        """The values for the placeholders of ``where``; add your own beside them."""
        found = {f"tm_hi{at}": value for at, value in enumerate(self._parts(self.hi))}
        if self.lo is not None:
            found.update({f"tm_lo{at}": value for at, value in enumerate(self._parts(self.lo))})
        return found

    def fetch(self, connection: Any, columns: str = "*") -> list[Any]:
        """The rows themselves, in the order of their keys.

        Args:
            connection: of any DB-API driver that takes ``%(name)s``.
            columns: what to select, as SQL.
        """
        order = ", ".join(self.key)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {self.table} WHERE {self.where()} ORDER BY {order}", self.values)
            found: list[Any] = cursor.fetchall()
        return found

    def _parts(self, key: Any) -> tuple[Any, ...]:
        return (key,) if len(self.key) == 1 else tuple(key)

    def _placed(self, end: str) -> str:
        places = [f"CAST(%(tm_{end}{at})s AS {type_})" for at, type_ in enumerate(self.types)]
        return places[0] if len(places) == 1 else f"({', '.join(places)})"


def ranges(
    dsn: Dsn,
    table: str,
    key: str | Sequence[str] = "id",
    *,
    rows: int = 10_000,
    target: float | None = 1.0,
    label: Any = None,
    statement_timeout: float = 60.0,
    patience: float = 3600.0,
) -> Ranges:
    """Key ranges of a table as jobs; the callback gets a ``KeyRange``.

    The last range ends at the highest key that the table has when the run is new. A range that fails twice is split,
    until the row is found that fails.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a connection of any DB-API driver that takes
            ``%s``. Nothing is connected before the master reads.
        table: as in SQL: ``"comments"``, ``"public.comments"``, ``'"Odd name"'``.
        key: the column, or the columns, along which an index leads; it need not be unique, and is never NULL.
        rows: of the first ranges.
        target: seconds that a range should take in a worker: the number of rows follows what was measured; None: it
            stays as it is.
        label: goes with each range, for the callback: which of many databases it is of, for instance.
        statement_timeout: seconds that the search for a border may take on the server.
        patience: seconds for which a database that cannot be read is tried again before the run stops, to be resumed.

    Raises:
        UsageError: an argument makes no sense.

    Example::

        get_jobs = postgres.ranges("dbname=blog", "comments")
    """
    if type(rows) is not int or rows < 1:
        raise UsageError(f"rows={rows!r}: give a whole number of rows, 1 or more. From the command line comes text.")
    durations(target=target, statement_timeout=statement_timeout, patience=patience)
    if target == 0:
        raise UsageError("target=0: a range takes some time. Give seconds, or None to leave all ranges as large.")
    return Ranges(Reading(dsn, patience, statement_timeout), table, key, rows, target, label)


class Ranges:
    """What ``ranges`` returns: a source with ``iterate(last)``, as ``taskmaster.master.source`` wants it."""

    parked = True

    def __init__(
        self, reading: Reading, table: str, key: str | Sequence[str], rows: int, target: float | None, label: Any
    ) -> None:
        self._reading = reading
        self._name = table
        self._key = key
        self._rows = rows
        self._target = target
        self._label = label
        self._table: Table | None = None
        self._ends: tuple[Any, Any] | None = None
        self._fixed = False
        self._speed: float | None = None  # rows a second, in a worker
        self._largest = rows  # rows of a range that was measured
        self._open: dict[Any, int] = {}  # by key: how many rows a range has that was not measured yet

    def __repr__(self) -> str:
        return f"ranges of {self._name} by {self._key}"

    # -- what the master calls ---------------------------------------------------------------------------------------

    def fix(self, bound: Any) -> Any:
        """Decide where the run ends, or take over what was decided.

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
            low, high = (self._border(table, None, None, 1, descending=way) for way in (False, True))
            self._ends = None if low is None or high is None else (low, high)
        self._fixed = True
        return self._ends

    def iterate(self, last: Any) -> Iterator[Job]:
        """The ranges after one, or all of them."""
        table = self._found()
        if not self._fixed:
            self.fix(None)
        return self._drawn(table, None if last is None else self._parsed(table, last)[1])

    def split(self, key: Any) -> list[Job]:
        """A range in two halves; empty if it has one row, or none."""
        table = self._found()
        lo, hi = self._parsed(table, key)
        count = self._count(table, lo, hi)  # what was drawn may have lost rows since
        middle = self._border(table, lo, hi, count // 2) if count > 1 else None
        if middle is None or middle == hi:
            return []  # rows with one key cannot be told apart by it
        self._open.pop(key, None)
        return [self._job(table, lo, middle, count // 2), self._job(table, middle, hi, count - count // 2)]

    def took(self, jobs: Sequence[Any], seconds: float) -> None:
        """Ranges were done, one after the other: the next ones get as many rows as make the target."""
        counts = [self._open.pop(key, 0) for key in jobs]
        if self._target is None or not all(counts) or seconds <= 0:
            return  # of a range from an earlier session nobody knows how many rows it has
        speed = sum(counts) / seconds
        self._speed = speed if self._speed is None else (1 - RECENT) * self._speed + RECENT * speed
        self._largest = max(self._largest, *counts) if seconds / len(counts) < self._target else max(counts)
        wanted = int(self._speed * self._target)
        self._rows = max(1, min(wanted, int(GROWTH * self._largest), MOST))

    def position(self, key: Any) -> float | None:
        """Which share of the keys lies up to a range's end; None where one cannot reckon with them."""
        if self._table is None or self._ends is None:
            return None
        if len(self._table.key) > 1 or not self._table.key[0].number:
            return None
        low, high, at = (float(end) for end in (*self._ends, key[1]))
        return share(low, high, at)

    def close(self) -> None:
        """Nothing more is asked."""
        self._reading.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _found(self) -> Table:
        if self._table is None:
            self._table = look_up(self._reading, self._name, self._key, unique=False)
        return self._table

    def _parsed(self, table: Table, key: Any) -> tuple[Any, Any]:
        """The two ends of a range.

        Raises:
            UsageError: it is none of this table's.
        """
        if not isinstance(key, tuple | list) or len(key) != 2:
            raise UsageError(
                f"{key!r} is no range of {table.quoted}: the run that it comes from had another source. Start a new "
                "run with --reset, or give this one a state of its own with --state=PATH."
            )
        lo, hi = key
        if lo is not None:
            table.values_of(lo)
        table.values_of(hi)
        return lo, hi

    def _drawn(self, table: Table, lo: Any) -> Iterator[Job]:
        while self._ends is not None and lo != self._ends[1]:
            count = self._rows
            # Less than a whole range before the end of the run: the last one.
            hi = self._border(table, lo, self._ends[1], count)
            yield self._job(table, lo, self._ends[1] if hi is None else hi, count)
            lo = self._ends[1] if hi is None else hi

    def _job(self, table: Table, lo: Any, hi: Any, count: int) -> Job:
        key = (lo, hi)
        if len(self._open) < OPEN:
            self._open[key] = count
        names, types = zip(*((column.sql, column.compared_as) for column in table.key), strict=True)
        return Job(key, KeyRange(lo, hi, table.sql, names, types, self._label))

    def _border(self, table: Table, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        """The key of the row that is so many rows above a key; None if there are fewer up to the other.

        An index-only scan of as many entries; the rows themselves are not read.
        """
        where, values = _between(table, lo, hi)
        sql = (
            f"SELECT {table.key_selected} FROM {table.sql}{where} ORDER BY {table.order(descending=descending)} "
            f"OFFSET {count - 1} LIMIT 1"
        )
        found = self._asked(sql, values)
        return table.key_of(found[0]) if found else None

    def _count(self, table: Table, lo: Any, hi: Any) -> int:
        where, values = _between(table, lo, hi)
        return int(self._asked(f"SELECT count(*) FROM {table.sql}{where}", values)[0][0])

    def _asked(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._reading.fetch(sql, values)
        except TooSlow as exc:
            raise SourceError(
                f"A border of {self._name} was not found within the statement_timeout: {exc} Raise it, vacuum the "
                "table (dead rows are looked at, too), or draw smaller ranges with rows=."
            ) from exc


def _between(table: Table, lo: Any, hi: Any) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for end, sign in ((lo, ">"), (hi, "<=")):
        if end is not None:
            parts.append(f"{table.key_sql} {sign} {table.key_placed}")
            values += table.values_of(end)
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values
