"""Key ranges of a table as jobs: the master reads only the keys at which ranges end, and each
worker reads the rows of its range.

For the user's module: the master iterates, and the callback gets a ``KeyRange``. A billion rows are
about a hundred thousand ranges. ``taskmaster.sources.key_ranges`` cuts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import Job
from taskmaster.postgres.catalog import look_up, order_now
from taskmaster.postgres.key_operators import is_visible, operator_of
from taskmaster.postgres.statements import Dsn, SourceConnection, durations
from taskmaster.postgres.tables import Table
from taskmaster.sources.key_ranges import RangeSource

__all__ = ["KeyRange", "Ranges", "ranges"]


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The rows whose key is above ``lo`` and up to ``hi``.

    Attributes:
        lo: The key after which the range begins; None for the beginning of the table; a tuple, if
            the key has several columns. A key that is neither int nor text is the server's text.
        hi: The highest key of the range, in the same form.
        table: The table's name, as SQL.
        key: The key's columns, as SQL.
        types: The types of the key's columns, as SQL.
        label: The ``label`` that ``ranges`` was given.
        partitioned: Whether the table's rows are in partitions.
        operators: Schema of the operators that compare the key, as SQL; "" for the server's own.
        searched: Operators that the search path has to lead to; otherwise the condition raises an
            error on the server.

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
    partitioned: bool = False
    operators: str = ""
    searched: tuple[str, ...] = ()

    def __setstate__(self, state: Sequence[Any]) -> None:
        # A pickle from before ``partitioned``, ``operators`` or ``searched`` has fewer values.
        for at, field in enumerate(fields(self)):
            object.__setattr__(self, field.name, state[at] if at < len(state) else field.default)

    def where(self, *columns: str) -> str:
        """Return the condition that chooses these rows, with the placeholders that ``values``
        fills.

        Args:
            columns: the key's columns as the statement names them, as SQL (``"c.id"``); by default
                their bare names.
        """
        names = columns or self.key
        if len(names) != len(self.key):
            raise UsageError(f"The key has the columns {', '.join(self.key)}, and where() was given {len(names)}.")
        left = ", ".join(names) if len(names) == 1 else f"({', '.join(names)})"
        parts = [] if self.lo is None else [f"{left} {self._operator('>')} {self._placeholders('lo')}"]
        parts.append(f"{left} {self._operator('<=')} {self._placeholders('hi')}")
        if self.partitioned and len(names) > 1:
            parts += self._bounds(names)
        parts += map(is_visible, self.searched)
        return " AND ".join(parts)

    @property
    def values(self) -> dict[str, Any]:
        """Values for the placeholders of ``where``; add your own beside them."""
        found = {f"tm_hi{at}": value for at, value in enumerate(self._parts(self.hi))}
        if self.lo is not None:
            found.update({f"tm_lo{at}": value for at, value in enumerate(self._parts(self.lo))})
        return found

    def fetch(self, connection: Any, columns: str = "*") -> list[Any]:
        """Return the rows themselves, in the order of their keys.

        Args:
            connection: a connection of any DB-API driver that takes ``%(name)s``.
            columns: what to select, as SQL.
        """
        # In ORDER BY, a bare name would mean a selected column of that name, such as the key as
        # text.
        order = ", ".join(f"{self.table}.{column}" for column in self.key)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {self.table} WHERE {self.where()} ORDER BY {order}", self.values)
            found: list[Any] = cursor.fetchall()
        return found

    def _parts(self, key: Any) -> tuple[Any, ...]:
        return (key,) if len(self.key) == 1 else tuple(key)

    def _bounds(self, names: Sequence[str]) -> Iterator[str]:
        """Yield conditions on single columns: the server skips no partition by a comparison of
        rows.
        """
        low, high = None if self.lo is None else self._parts(self.lo), self._parts(self.hi)
        for at, name in enumerate(names):
            if low is not None and low[at] == high[at]:
                # Only an equality lets the server skip hash partitions.
                yield f"{name} {self._operator('=')} {self._placeholder('hi', at)}"
                continue
            if low is not None:
                yield f"{name} {self._operator('>=')} {self._placeholder('lo', at)}"
            yield f"{name} {self._operator('<=')} {self._placeholder('hi', at)}"
            return  # the next column may have any value in between

    def _operator(self, sign: str) -> str:
        return operator_of(sign, self.operators)

    def _placeholder(self, end: str, at: int) -> str:
        return f"CAST(%(tm_{end}{at})s AS {self.types[at]})"

    def _placeholders(self, end: str) -> str:
        each = [self._placeholder(end, at) for at in range(len(self.types))]
        return each[0] if len(each) == 1 else f"({', '.join(each)})"


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
    """Return key ranges of a table as jobs; the callback gets a ``KeyRange``.

    The last range ends at the highest key that the table has when the run begins. A range that
    fails twice is split, until the failing row is found.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a connection of any DB-API
            driver that takes ``%s``. No connection is opened before the master reads.
        table: as in SQL: ``"comments"``, ``"public.comments"``, ``'"Odd name"'``.
        key: the column, or the columns, with which an index begins; it need not be unique, and must
            not be NULL.
        rows: how many rows each of the first ranges has.
        target: seconds that a range should take in a worker: later ranges get more or fewer rows,
            by what was measured; None: all have ``rows`` rows.
        label: any value that goes with each range to the callback, as the name of a database.
        statement_timeout: seconds that the search for the end of a range may take on the server; a
            search that takes longer, as while it waits for a lock, is made again.
        patience: seconds for which a database that cannot be read is tried again before the run
            stops, to be resumed.

    Raises:
        UsageError: an argument makes no sense.

    Example::

        get_jobs = postgres.ranges("dbname=blog", "comments")
    """
    durations(statement_timeout=statement_timeout, patience=patience)
    return Ranges(SourceConnection(dsn, patience, statement_timeout), table, key, rows, target, label)


class Ranges(RangeSource):
    """The source that ``ranges`` returns: see ``taskmaster.master.reading.source``."""

    def __init__(
        self,
        reading: SourceConnection,
        table: str,
        key: str | Sequence[str],
        rows: int,
        target: float | None,
        label: Any,
    ) -> None:
        super().__init__(rows, target)
        self._reading = reading
        self._name = table
        self._key = key
        self._label = label
        self._table: Table | None = None

    def __repr__(self) -> str:
        return f"ranges of {self._name} by {self._key}"

    def bounds(self, bound: Any) -> Any:
        """Decide which rows belong to the run; in a resumed run, take over what was decided."""
        found = super().bounds(bound)
        self._reading.note_position()
        return found

    def iterate(self, last: Any) -> Iterator[Job]:
        """Return the ranges after a key; all of them for None."""
        self._found()
        return super().iterate(last)

    def close(self) -> None:
        """Close the connection at the end of the reading."""
        self._reading.close()

    def _drawn(self, lo: Any) -> Iterator[Job]:
        yield from super()._drawn(lo)
        table = self._found()
        self._check_order(table.key_order, order_now(self._reading, table))

    # -- what the database says --------------------------------------------------------------------

    def _found(self) -> Table:
        if self._table is None:
            self._table = look_up(self._reading, self._name, self._key, unique=False)
        return self._table

    def _check_end(self, key: Any) -> None:
        self._found().values_of(key)

    def _order(self) -> str | None:
        return self._found().key_order

    def _names_in_sql(self) -> tuple[str, str] | None:
        return None if self._table is None or not self._reckons() else (self._table.quoted, self._table.key[0].sql)

    def _reckons(self) -> bool:
        # Another thread asks, which must not use the connection: False before the table was found.
        return self._table is not None and len(self._table.key) == 1 and self._table.key[0].number

    def _range(self, lo: Any, hi: Any) -> KeyRange:
        table = self._found()
        names, types = zip(*((column.sql, column.compared_as) for column in table.key), strict=True)
        return KeyRange(lo, hi, table.sql, names, types, self._label, table.partitioned, *table.operators)

    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        """Return the key that is ``count`` rows further; None if there are fewer. The server scans
        that many entries of the index, and reads no rows.
        """
        table = self._found()
        where, values = _between(table, lo, hi)
        sql = (
            f"SELECT {table.key_selected} FROM {table.sql}{where} ORDER BY {table.order(descending=descending)} "
            f"OFFSET {count - 1} LIMIT 1"
        )
        found = self._reading.fetch(sql, values)
        return table.key_of(found[0]) if found else None

    def _count(self, lo: Any, hi: Any) -> int:
        table = self._found()
        where, values = _between(table, lo, hi)
        return int(self._reading.fetch(f"SELECT count(*) FROM {table.sql}{where}", values)[0][0])


def _between(table: Table, lo: Any, hi: Any) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for end, sign in ((lo, ">"), (hi, "<=")):
        if end is not None:
            condition, needed = table.compared(sign, end)
            parts.append(condition)
            values += needed
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values
