"""The statements of ``taskmaster.postgres.rows``: pages of a table in the order of its key, and
what is selected of a row.

This module makes SQL and sends none. The server itself ends a page at ``PAGE_BYTES`` before it
sends any of it, so that a sudden stretch of wide rows does not fill the master's memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.model import Job
from taskmaster.postgres.statements import Dsn, SourceConnection
from taskmaster.postgres.tables import Column, Table
from taskmaster.records import record
from taskmaster.sources.keyset_rows import PAGE_BYTES, SAMPLED_ROWS

__all__ = ["PageStatements", "RowsRequest", "Shape", "rows_that_fit"]

SAMPLED_PARTS = 64  # most parts of a document or an array whose size is measured

Statement = tuple[str, list[Any]]
"""SQL, and the values for its placeholders."""


@record(slots=False)
class RowsRequest:
    """The arguments of ``rows``.

    Attributes:
        dsn: The connection string, or the user's function that connects.
        table: The table as the user named it.
        key: The key's columns.
        columns: The columns that the callback gets.
        condition: The condition as SQL with placeholders; None if there is none.
        values: The values for the placeholders.
        chunk: Most rows of a page.
        descending: Whether the highest key comes first.
        follow: Whether to go on with rows that are added later.
        statement_timeout: Seconds that a page may take.
        patience: Seconds for which a page is tried again.
    """

    dsn: Dsn
    table: str
    key: str | Sequence[str]
    columns: str | Sequence[str] | None
    condition: str | None
    values: tuple[Any, ...]
    chunk: int
    descending: bool
    follow: bool
    statement_timeout: float
    patience: float

    def reading(self) -> SourceConnection:
        """Return a connection for reading."""
        return SourceConnection(self.dsn, self.patience, self.statement_timeout)


@record(slots=False)
class Shape:
    """The columns that are selected of a row, and how a job is made of them.

    Attributes:
        columns: The columns that the callback gets.
        bare: Whether the callback gets a single value instead of a tuple.
        key_at: Indexes of the key's values among ``columns``; empty if ``beside`` has them.
        beside: The key's columns, selected a second time behind ``columns``; empty if ``columns``
            has them all, in the form that keys have.
    """

    columns: tuple[Column, ...]
    bare: bool
    key_at: tuple[int, ...]
    beside: tuple[Column, ...]

    @classmethod
    def of(cls, table: Table, columns: str | Sequence[str] | None) -> Shape:
        """Return the shape of rows of a table for ``rows(columns=...)``.

        Raises:
            UsageError: there is no such column.
        """
        names = [column.name for column in table.key] if columns is None else columns
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in table.columns:
                raise UsageError(f"{table.quoted} has no column {name!r}; it has {', '.join(table.columns)}.")
        # An int or a text is its own key; of other types, the server's text is the key.
        inside = all(column.plain and column.name in names for column in table.key)
        return cls(
            columns=tuple(table.columns[name] for name in names),
            bare=len(names) == 1 and (columns is None or isinstance(columns, str)),
            key_at=tuple(names.index(column.name) for column in table.key) if inside else (),
            beside=() if inside else table.key,
        )

    @property
    def selected(self) -> list[str]:
        """The SELECT list, as SQL."""
        return [column.sql for column in self.columns] + [column.value for column in self.beside]

    @property
    def octets(self) -> str:
        """SQL for about how many bytes a row takes; "" if no row can be wide."""
        return " + ".join(f"coalesce({column.octets}, 0)" for column in self.columns if column.octets)

    def key_of(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """Return the values of a row's key."""
        return tuple([row[at] for at in self.key_at] if self.key_at else row[len(self.columns) :])

    def jobs(self, table: Table, page: list[tuple[Any, ...]]) -> list[Any]:
        """Return the jobs of a page's rows."""
        if not self.beside:
            return [row[0] for row in page] if self.bare else page
        width = len(self.columns)
        return [Job(table.key_of(row[width:]), row[0] if self.bare else row[:width]) for row in page]


@record(slots=False)
class PageStatements:
    """SELECT statements over a table, in the order of its key.

    Attributes:
        request: The arguments of ``rows``.
        table: The table.
        shape: The columns that are selected of a row.
    """

    request: RowsRequest
    table: Table
    shape: Shape

    @property
    def ordered(self) -> str:
        """ORDER BY in the order of the run."""
        return f"ORDER BY {self.table.order(descending=self.request.descending)}"

    def where(self, after: Any, until: Any, *, conditioned: bool = True) -> Statement:
        """Return the WHERE of a page.

        Args:
            after: the key after which the page begins; None: it begins with the first row.
            until: the last key; None: no end.
            conditioned: whether the user's condition is part of it.
        """
        down = self.request.descending
        parts: list[str] = []
        values: list[Any] = []
        if self.request.condition is not None and conditioned:
            parts.append(f"({self.request.condition}\n)")  # it may end with a comment
            values += self.request.values
        for key, sign in ((after, "<" if down else ">"), (until, ">=" if down else "<=")):
            if key is not None:
                condition, needed = self.table.compared(sign, key)
                parts.append(condition)
                values += needed
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), values

    def keys(self, after: Any, until: Any, limit: str, *, conditioned: bool = True) -> Statement:
        """Return a statement for the keys of a page; ``limit`` is its LIMIT and OFFSET, as SQL."""
        where, values = self.where(after, until, conditioned=conditioned)
        return f"SELECT {self.table.key_selected} FROM {self.table.sql}{where} {self.ordered} {limit}", values

    def page(self, after: Any, until: Any, count: int) -> Statement:
        """Return a statement for a page of at most ``count`` rows.

        The server adds up the bytes of the rows, without reading values that are stored out of
        line, and sends no row after the one with which they reach ``PAGE_BYTES``.
        """
        where, values = self.where(after, until)
        rest = f"FROM {self.table.sql}{where} {self.ordered} LIMIT {count}"
        if not self.shape.octets or count == 1:
            return f"SELECT {', '.join(self.shape.selected)} {rest}", values
        selected = self.shape.selected
        names = [f"c{at}" for at in range(len(selected))]
        named = [f"{what} AS {name}" for what, name in zip(selected, names, strict=True)]
        keys = [f"{column.sql} AS k{at}" for at, column in enumerate(self.table.key)]
        order = ", ".join(f"k{at}{' DESC' if self.request.descending else ''}" for at in range(len(keys)))
        return (
            f"SELECT {', '.join(names)} FROM (SELECT *, sum(octets) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) "
            f"- octets AS before FROM (SELECT {', '.join(named + keys)}, {self.shape.octets} AS octets {rest}) AS page"
            f") AS page WHERE before < {PAGE_BYTES} ORDER BY {order}"
        ), values


def rows_that_fit(page: Sequence[tuple[Any, ...]], *, of: int) -> int:
    """Return how many rows make a page of ``PAGE_BYTES``, by the size of a few rows of the last
    one.

    Args:
        page: the rows of the last page.
        of: how many rows were asked for. The server sends fewer if they are wide.
    """
    some = page[:: -(-len(page) // SAMPLED_ROWS)]
    fit = max(1, PAGE_BYTES * len(some) // sum(map(_bytes_of, some)))
    return fit if len(page) >= of else min(fit, 2 * len(page))


def _bytes_of(value: Any) -> int:
    """Return about how many bytes a value takes in memory, with its parts."""
    if not isinstance(value, tuple | list | dict):
        return sys.getsizeof(value)
    # Of many parts, a sample is measured: all would take longer than reading the page.
    some: Iterable[Any] = value.items() if isinstance(value, dict) else value
    if len(value) > SAMPLED_PARTS:
        some = islice(some, 0, None, len(value) // SAMPLED_PARTS)
    sizes = [_bytes_of(part) for part in some]
    return sys.getsizeof(value) + sum(sizes) * len(value) // max(1, len(sizes))
