"""Key ranges of a table as jobs: the master reads nothing but borders, and the workers their rows.

For the user's module; the master iterates, the workers get a ``KeyRange``. A billion rows are some
hundred thousand ranges. How they are drawn is in ``taskmaster.sources.key_ranges``.
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
        lo: The key below the first row, None before the first row of the table; a tuple, if the key
            has several columns. Keys that are neither int nor text are the server's text for them.
        hi: The key of the last row.
        table: The table's name, as SQL.
        key: The key's columns, as SQL.
        types: The types of the key's columns, as SQL.
        label: The ``label`` that ``ranges`` was given.
        partitioned: Whether the table's rows are in partitions.
        operators: Schema of the operators that compare the key, as SQL; "" for the server's own.
        searched: Operators that the search path has to lead to: the condition is an error where it
            does not.

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
        # A state from before ``partitioned``, ``operators`` or ``searched`` has fewer values.
        for at, field in enumerate(fields(self)):
            object.__setattr__(self, field.name, state[at] if at < len(state) else field.default)

    def where(self, *columns: str) -> str:
        """Return the condition that chooses these rows, with the placeholders that ``values``
        fills.

        Args:
            columns: the key's columns as the statement calls them, as SQL (``"c.id"``); default: as
                they are.
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
            connection: of any DB-API driver that takes ``%(name)s``.
            columns: what to select, as SQL.
        """
        # A bare name would be what is selected under it, such as a text.
        order = ", ".join(f"{self.table}.{column}" for column in self.key)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {self.table} WHERE {self.where()} ORDER BY {order}", self.values)
            found: list[Any] = cursor.fetchall()
        return found

    def _parts(self, key: Any) -> tuple[Any, ...]:
        return (key,) if len(self.key) == 1 else tuple(key)

    def _bounds(self, names: Sequence[str]) -> Iterator[str]:
        """Give bounds of single columns: by a row of them, the server leaves out no partition."""
        low, high = None if self.lo is None else self._parts(self.lo), self._parts(self.hi)
        for at, name in enumerate(names):
            if low is not None and low[at] == high[at]:
                # Partitions by hash are left out by an equality alone.
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
    """Give key ranges of a table as jobs; the callback gets a ``KeyRange``.

    The last range ends at the highest key that the table has when the run is new. A range that
    fails twice is split, until the row is found that fails.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a connection of any DB-API
            driver that takes ``%s``. Nothing is connected before the master reads.
        table: as in SQL: ``"comments"``, ``"public.comments"``, ``'"Odd name"'``.
        key: the column, or the columns, along which an index leads; it need not be unique, and is
            never NULL.
        rows: how many rows each of the first ranges has.
        target: seconds that a range should take in a worker: the number of rows of later ranges
            follows what was measured; None: it stays as it is.
        label: goes with each range to the callback, to say of which database it is, for instance.
        statement_timeout: seconds that the search for a border may take on the server; one that
            takes longer, as it may when it waits for a lock, is made again.
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
    """What ``ranges`` returns: a source with ``iterate(last)``, as
    ``taskmaster.master.reading.source`` wants it.
    """

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
        """Decide which rows belong to the run, or take over what was decided."""
        found = super().bounds(bound)
        self._reading.note_position()
        return found

    def iterate(self, last: Any) -> Iterator[Job]:
        """Return the ranges after one, or all of them."""
        self._found()
        return super().iterate(last)

    def close(self) -> None:
        """Give the connection up: nothing more is asked."""
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
        # Nothing is known before the table was looked up; the thread that asks this must not use
        # the connection.
        return self._table is not None and len(self._table.key) == 1 and self._table.key[0].number

    def _range(self, lo: Any, hi: Any) -> KeyRange:
        table = self._found()
        names, types = zip(*((column.sql, column.compared_as) for column in table.key), strict=True)
        return KeyRange(lo, hi, table.sql, names, types, self._label, table.partitioned, *table.operators)

    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        """Scan ``count`` entries of the index; the rows themselves are not read."""
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
