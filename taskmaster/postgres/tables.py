"""A table, its columns and its key as SQL. ``catalog`` makes it of what the server says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.postgres.key_operators import KeyOperators, operator_of
from taskmaster.records import record

__all__ = ["Column", "Table"]

PLAIN_TYPES = {"smallint": int, "integer": int, "bigint": int, "text": str, "character varying": str}
"""Types whose values travel as Python's int or str; all others travel as the server's own text."""

SHORT_TYPES = {
    *("smallint", "integer", "bigint", "real", "double precision", "boolean", "date", "uuid", "oid", "interval"),
    *("timestamp without time zone", "timestamp with time zone", "time without time zone", "time with time zone"),
    *("inet", "cidr", "macaddr", "money", '"char"', "name"),
}
"""Types whose values have a few bytes each, so that none makes a row wide."""

AS_THEY_COME = {"text", "character varying", "character", "bytea"}
"""Types whose length in bytes the server knows without reading a value that is stored out of line.
"""

NARROW_CHARACTERS = 500  # longest declared length of a text that does not make a row wide
SMALL_BYTES = 100  # stored size above which a value is measured: it may be compressed to a hundredth
EXPANSION = 8  # about how many bytes Python's objects take for each byte of a document's text

NUMBER_TYPES = {*PLAIN_TYPES, "numeric", "real", "double precision"} - {"text", "character varying"}


@record()
class Column:
    """A column of a table.

    Attributes:
        name: Its name, unquoted.
        quoted: Its name as SQL.
        type: Its type as SQL, with the schema unless it is one of PostgreSQL's own.
        nullable: Whether it may be NULL.
        collation: The collation that sorts its texts, as SQL; "" where its type has none.
    """

    name: str
    quoted: str
    type: str
    nullable: bool
    collation: str = ""

    @property
    def sql(self) -> str:
        """Its name in a statement that is executed with values, where %% is a percent sign."""
        return self.quoted.replace("%", "%%")

    @property
    def base(self) -> str:
        """Its type without a length or precision."""
        return self.type.partition("(")[0]

    @property
    def plain(self) -> bool:
        """Whether its values are Python's int or str, so that they need no cast to text."""
        return self.base in PLAIN_TYPES

    @property
    def number(self) -> bool:
        """Whether its values are numbers."""
        return self.base in NUMBER_TYPES

    @property
    def order(self) -> str:
        """What the order of its values depends on: type and collation, with all sizes of whole
        numbers as one type.
        """
        base = "integer" if PLAIN_TYPES.get(self.base) is int else "text" if self.base in PLAIN_TYPES else self.type
        return f"{base} COLLATE {self.collation}" if self.collation else base

    @property
    def octets(self) -> str:
        """SQL for about how many bytes a value takes in the master; "" if it is always few."""
        length = self.type.removesuffix(")").rpartition("(")[2]
        if self.base in SHORT_TYPES or (
            self.base.startswith("character") and length.isdecimal() and int(length) <= NARROW_CHARACTERS
        ):
            return ""
        if self.base in AS_THEY_COME:
            return f"octet_length({self.sql})"
        # Documents, arrays and the like become Python objects, which take several times as much.
        # The server reads and measures only those whose stored size says that they may be large.
        stored = f"pg_column_size({self.sql})"
        return f"{EXPANSION} * CASE WHEN {stored} > {SMALL_BYTES} THEN octet_length({self.sql}::text) ELSE {stored} END"

    @property
    def value(self) -> str:
        """SQL that selects its value in the form that a key has. A cast keeps the column's name."""
        return self.sql if self.plain else f"{self.sql}::text"

    @property
    def compared_as(self) -> str:
        """Its type for a cast. A text's length is left out: the cast would cut a longer value."""
        return (self.base if self.plain else self.type).replace("%", "%%")

    @property
    def placeholder(self) -> str:
        """A placeholder for one of its values."""
        # Not %s::smallint: in -32768::smallint, the cast of 32768 fails before the minus applies.
        return f"CAST(%s AS {self.compared_as})"


@record()
class Table:
    """A table and the key in whose order it is read.

    Attributes:
        quoted: Its name with its schema, as SQL.
        columns: Its columns by name.
        key: The columns of the key.
        partitioned: Whether its rows are in partitions.
        operators: The operators that compare its key.
    """

    quoted: str
    columns: dict[str, Column]
    key: tuple[Column, ...]
    partitioned: bool
    operators: KeyOperators = KeyOperators()

    @property
    def sql(self) -> str:
        """Its name in a statement that is executed with values."""
        return self.quoted.replace("%", "%%")

    @property
    def key_sql(self) -> str:
        """The key as one SQL value: a column, or a row of columns."""
        names = ", ".join(column.sql for column in self.key)
        return names if len(self.key) == 1 else f"({names})"

    @property
    def key_selected(self) -> str:
        """The key's columns in a SELECT list."""
        return ", ".join(column.value for column in self.key)

    @property
    def key_order(self) -> str:
        """What the order of the keys depends on."""
        return ", ".join(column.order for column in self.key)

    def compared(self, sign: str, key: Any) -> tuple[str, list[Any]]:
        """Return the condition that a row's key is above or below one, and its values.

        Args:
            sign: ``<``, ``<=``, ``>`` or ``>=``.
            key: the key, in the form that jobs have.
        """
        values = list(self.values_of(key))
        placeholders = [column.placeholder for column in self.key]
        operator = operator_of(sign, self.operators.schema)
        if len(self.key) == 1:
            return f"{self.key_sql} {operator} {placeholders[0]}", values
        condition = f"{self.key_sql} {operator} ({', '.join(placeholders)})"
        if not self.partitioned:
            return condition, values
        # The server skips partitions by a comparison of single columns, not of rows.
        first = f"{self.key[0].sql} {operator_of(f'{sign[0]}=', self.operators.schema)} {placeholders[0]}"
        return f"{condition} AND {first}", [*values, values[0]]

    def index(self, *, unique: bool = False) -> str:
        """Return the statement that creates an index over the key, without a lock if possible."""
        names = ", ".join(column.quoted for column in self.key)
        kind = f"{'UNIQUE ' if unique else ''}INDEX{'' if self.partitioned else ' CONCURRENTLY'}"
        return f"CREATE {kind} ON {self.quoted} ({names})"

    def order(self, *, descending: bool = False) -> str:
        """Return the key for ORDER BY."""
        # With the table's name: in ORDER BY, a bare name would mean a selected column of that name.
        return ", ".join(f"{self.sql}.{column.sql}{' DESC' if descending else ''}" for column in self.key)

    def key_of(self, values: Sequence[Any]) -> Any:
        """Return a key in the form that jobs have: the value, or a tuple of several."""
        return values[0] if len(self.key) == 1 else tuple(values)

    def values_of(self, key: Any) -> tuple[Any, ...]:
        """Return a key as the values of its columns.

        Raises:
            UsageError: it is no key of this table, or its columns have other types by now.
        """
        values = (key,) if len(self.key) == 1 else key
        if (
            isinstance(values, tuple | list)
            and len(values) == len(self.key)
            and all(type(one) is PLAIN_TYPES.get(to.base, str) for one, to in zip(values, self.key, strict=True))
        ):
            return tuple(values)
        names = ", ".join(column.name for column in self.key)
        raise UsageError(
            f"{key!r} is no key ({names}) of {self.quoted}: the run that it comes from had another source, or the type "
            "of the key has been changed since. Start a new run with --reset, or give this one a state of its own with "
            "--state=PATH."
        )
