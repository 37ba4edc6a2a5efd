"""What the server says of a table: its name and columns as SQL, and whether a key can lead through
it.

Called by the sources of this package before the first page. All quoting is done by the server.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.postgres.statements import Reading
from taskmaster.sources.database_errors import Refused

__all__ = ["Column", "Table", "estimate", "look_up", "plan_of"]

PLAIN = {"smallint": int, "integer": int, "bigint": int, "text": str, "character varying": str}
"""Types whose values the drivers give as what they are; the others travel as the server's own text.
"""

ALONG = ({0}, {3})
"""The ways of an index's columns, by which it can be read in the order that ORDER BY has by
default, or backwards.
"""

NUMBERS = {*PLAIN, "numeric", "real", "double precision"} - {"text", "character varying"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: as it is.
        quoted: as SQL.
        type: as a cast wants it.
        nullable: it may be NULL.
    """

    name: str
    quoted: str
    type: str
    nullable: bool

    @property
    def sql(self) -> str:
        """It in a statement that is executed with values: a percent sign in it is none of a
        placeholder.
        """
        return self.quoted.replace("%", "%%")

    @property
    def base(self) -> str:
        """The type without its length or precision."""
        return self.type.partition("(")[0]

    @property
    def plain(self) -> bool:
        """Its values are Python's int or str, and travel as they are."""
        return self.base in PLAIN

    @property
    def number(self) -> bool:
        """One can reckon with its values."""
        return self.base in NUMBERS

    @property
    def selected(self) -> str:
        """It in a list of what is selected, as a value that comes back as it went."""
        # Without a name of its own, the text would take the column's, and ORDER BY would sort by
        # the text.
        return self.sql if self.plain else f'{self.sql}::text AS "text of {self.sql.strip(chr(34))}"'

    @property
    def compared_as(self) -> str:
        """The type that a value is cast to: without a text's length, as a longer one is to be
        compared, not cut.
        """
        return (self.base if self.plain else self.type).replace("%", "%%")

    @property
    def placed(self) -> str:
        """A placeholder for a value of it."""
        # Not %s::smallint, where the minus of -32768 would be applied to what the cast has refused.
        return f"CAST(%s AS {self.compared_as})"


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the key that leads through it.

    Attributes:
        quoted: its name with its schema, as SQL.
        columns: by name.
        key: the columns of the key.
        partitioned: its rows are in other tables.
    """

    quoted: str
    columns: dict[str, Column]
    key: tuple[Column, ...]
    partitioned: bool

    @property
    def sql(self) -> str:
        """It in a statement that is executed with values."""
        return self.quoted.replace("%", "%%")

    @property
    def key_sql(self) -> str:
        """The key as one value of SQL: a column, or a row of them."""
        names = ", ".join(column.sql for column in self.key)
        return names if len(self.key) == 1 else f"({names})"

    @property
    def key_placed(self) -> str:
        """Placeholders for a key."""
        places = ", ".join(column.placed for column in self.key)
        return places if len(self.key) == 1 else f"({places})"

    @property
    def key_selected(self) -> str:
        """The key's columns in a list of what is selected."""
        return ", ".join(column.selected for column in self.key)

    def index(self, *, unique: bool = False) -> str:
        """The statement that makes an index over the key; where it can, without a lock for as long
        as that takes.
        """
        names = ", ".join(column.quoted for column in self.key)
        kind = f"{'UNIQUE ' if unique else ''}INDEX{'' if self.partitioned else ' CONCURRENTLY'}"
        return f"CREATE {kind} ON {self.quoted} ({names})"

    def order(self, *, descending: bool = False) -> str:
        """For ORDER BY."""
        return ", ".join(f"{column.sql} DESC" if descending else column.sql for column in self.key)

    def key_of(self, values: Sequence[Any]) -> Any:
        """A key as jobs have it: the value, or a tuple of them."""
        return values[0] if len(self.key) == 1 else tuple(values)

    def values_of(self, key: Any) -> tuple[Any, ...]:
        """A key as the values of its columns.

        Raises:
            UsageError: it is none of this table's.
        """
        values = (key,) if len(self.key) == 1 else key
        several = isinstance(values, tuple | list) and len(values) == len(self.key)
        if several and all(type(value) in (int, str) for value in values):
            return tuple(values)
        names = ", ".join(column.name for column in self.key)
        raise UsageError(
            f"{key!r} is no key ({names}) of {self.quoted}: the run that it comes from had another source. Start a new "
            "run with --reset, or give this one a state of its own with --state=PATH."
        )


def look_up(reading: Reading, table: str, key: str | Sequence[str], *, unique: bool = True) -> Table:
    """Find a table, and make sure that its key can lead through it.

    Args:
        reading: asks the server.
        table: as one would write it in SQL: ``comments``, ``public.comments``, ``"Odd name"``.
        key: the column, or the columns in their order.
        unique: no two rows may have the same key.

    Raises:
        UsageError: there is no such table or column, or the key is nullable, not unique or not
            indexed; with the statement that mends it.
    """
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names or len(set(names)) < len(names):
        raise UsageError(f"key={key!r}: name at least one column, and each of them once.")
    try:
        found = reading.fetch(_TABLE, (table,))
    except Refused as exc:
        raise UsageError(f"{table!r} is no name of a table: {exc.why}. Write it as in SQL, with its schema.") from exc
    if not found or found[0][0] is None:
        raise UsageError(
            f"There is no table {table or repr(table)}{_like(reading, table)}. Write it as in SQL, with its schema."
        )
    oid, sql, kind, partitioned, heirs = found[0]
    if kind not in "rp":
        what = {"v": "a view", "f": "a foreign table", "m": "a materialized view", "S": "a sequence", "i": "an index"}
        raise UsageError(
            f"{table} is {what.get(kind, 'no table')}: only a table has columns that are never NULL, and the index by "
            "which its rows are read in pages. Read the table behind it."
        )
    if heirs and not partitioned:
        raise UsageError(
            f"Other tables inherit from {sql}, and no index covers the rows of all: read each of them by itself."
        )
    rows = reading.fetch(_COLUMNS, (oid,))
    columns = {name: Column(name, quoted, type_, not full) for name, quoted, type_, full in rows}
    for name in names:
        if name not in columns:
            raise UsageError(f"{sql} has no column {name!r}{_near(name, columns)}.")
    chosen = Table(sql, columns, tuple(columns[name] for name in names), partitioned)
    _check(reading, oid, chosen, unique=unique)
    return chosen


def _check(reading: Reading, oid: int, table: Table, *, unique: bool) -> None:
    names = [column.name for column in table.key]
    listed = ", ".join(column.quoted for column in table.key)
    for column in table.key:
        if column.nullable:
            raise UsageError(
                f"The column {column.name} of {table.quoted} may be NULL, and a row without a key would be left out "
                "without a word. Mend it with the following, which locks the table while it is read once "
                f"(docs/postgres.rst has a way around that): ALTER TABLE {table.quoted} "
                f"ALTER COLUMN {column.quoted} SET NOT NULL"
            )
    indexes = reading.fetch(_INDEXES, (oid,))
    proved = any(
        is_unique and None not in ways and set(columns) <= set(names) for is_unique, columns, ways, _ in indexes
    )
    ordered = any(
        sorts and columns[: len(names)] == names and set(ways[: len(names)]) in ALONG
        for _, columns, ways, sorts in indexes
    )
    how = table.index(unique=unique)
    if unique and not proved:
        raise UsageError(
            f"No unique index of {table.quoted} says that ({listed}) is unique, and of rows with the same key all but "
            f"one could be left out. Name the columns of a unique key, or mend it with: {how}"
        )
    if not ordered:
        raise UsageError(
            f"No index of {table.quoted} begins with ({listed}) in this order, so that each page would read the whole "
            f"table. Mend it with: {how}"
        )


def plan_of(reading: Reading, sql: str, values: Sequence[Any], local: str = "") -> dict[str, Any]:
    """The server's plan of a query, as its EXPLAIN gives it; with settings of the transaction, as
    SQL.
    """
    ((text,),) = reading.fetch(f"EXPLAIN (FORMAT JSON) {sql}", values, local=local)
    found: dict[str, Any] = (json.loads(text) if isinstance(text, str) else text)[0]["Plan"]
    return found


def estimate(reading: Reading, sql: str, values: Sequence[Any]) -> int:
    """About how many rows a query has, from the statistics alone: nothing is counted."""
    return int(plan_of(reading, sql, values)["Plan Rows"])


def _like(reading: Reading, table: str) -> str:
    """Tables whose name is nearly that, wherever they are."""
    names = [str(name) for (name,) in reading.fetch(_NAMES)]
    found = difflib.get_close_matches(table.rpartition(".")[2].strip('"'), [name.rpartition(".")[2] for name in names])
    near = [name for name in names if name.rpartition(".")[2] in found]
    return f"; there is {', '.join(near[:3])}" if near else ""


def _near(name: str, columns: dict[str, Column]) -> str:
    near = difflib.get_close_matches(name, columns)
    return f"; it has {', '.join(near or columns)}"


_TABLE = """
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text, c.relkind = 'p',
    EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""
_NAMES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 10000
"""
_COLUMNS = """
SELECT attname::text, quote_ident(attname), format_type(atttypid, atttypmod), attnotnull
FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# Valid indexes over all rows, and of each column: its name (NULL of an expression), and its way: 1
# for DESC, plus 2 for NULLS FIRST, without which ASC comes and which DESC brings; NULLs count for
# the order although there are none. What is equal in a column is what is equal in a comparison, if
# the index has its collation and the type's own operators; else its way is NULL. An index leads
# along its first columns if it is a B-tree, too, with all of them in one way.
_INDEXES = """
SELECT i.indisunique,
    array_agg(a.attname::text ORDER BY k.place),
    array_agg(CASE WHEN k.sorted = a.attcollation AND o.opcdefault THEN k.way & 3 END ORDER BY k.place),
    am.amname = 'btree'
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam
CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[], i.indoption::int2[])
    WITH ORDINALITY AS k(number, sorted, class, way, place)
JOIN pg_opclass o ON o.oid = k.class
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number <> 0
WHERE i.indrelid = %s AND i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisunique, am.amname
"""
