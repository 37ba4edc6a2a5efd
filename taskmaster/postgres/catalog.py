"""What the server's catalog says of a table: its name and columns as SQL, and whether its rows can
be read in the order of a key.

The sources of this package read it before the first page. The server does all quoting.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.postgres.key_operators import operators_of
from taskmaster.postgres.statements import SourceConnection
from taskmaster.postgres.tables import Column, Table
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_errors import StatementRefused

__all__ = ["estimate", "look_up", "order_now", "query_plan"]

logger = clean_logger(__name__)

ALONG = ({0}, {3})
"""Directions of an index's columns with which it serves ORDER BY, forwards or backwards."""


def look_up(reading: SourceConnection, table: str, key: str | Sequence[str], *, unique: bool = True) -> Table:
    """Find a table, and check that it can be read in the order of its key and that this role sees
    all rows.

    Args:
        reading: the connection that asks the server.
        table: as one would write it in SQL: ``comments``, ``public.comments``, ``"Odd name"``.
        key: the column, or the columns in their order.
        unique: whether to refuse a key that two rows may share.

    Raises:
        UsageError: there is no such table or column, or the key is nullable, not unique or not
            indexed, with the statement that mends it; or row-level security hides rows.
    """
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names or len(set(names)) < len(names):
        raise UsageError(f"key={key!r}: name at least one column, and each of them once.")
    try:
        found = reading.fetch(_TABLE, (table,))
    except StatementRefused as exc:
        raise UsageError(
            f"{table!r} is not the name of a table: {exc.why}. Write it as in SQL, with its schema."
        ) from exc
    if not found or found[0][0] is None:
        raise UsageError(
            f"There is no table {table or repr(table)}{_like(reading, table)}. Write it as in SQL, with its schema."
        )
    oid, sql, kind, partitioned, heirs, filtered, allowed = found[0]
    _refuse_other_kinds(table, kind)
    if heirs and not partitioned:
        raise UsageError(
            f"Other tables inherit from {sql}, and no index covers the rows of all: read each of them by itself."
        )
    if filtered:
        _say_filtered(sql, allowed=allowed)
    columns = _columns(reading, oid)
    for name in names:
        if name not in columns:
            raise UsageError(f"{sql} has no column {name!r}{_near(name, columns)}.")
    chosen = Table(sql, columns, tuple(columns[name] for name in names), partitioned)
    _check(reading, oid, chosen, unique=unique)
    _warn_of_other_versions(reading, oid, chosen)
    return replace(chosen, operators=operators_of(reading, oid, sql, {c.name: c.type for c in chosen.key}))


def order_now(reading: SourceConnection, table: Table) -> str | None:
    """Return what the order of a table's keys depends on now; None if the table or a column of its
    key is gone.

    The sources ask at the end of a reading: if the order was changed meanwhile, the pages passed
    over rows without showing it.

    Raises:
        UsageError: the name belongs to something else by now, or row-level security hides rows.
    """
    found = reading.fetch(_TABLE, (table.quoted,))
    if not found or found[0][0] is None:
        return None
    oid, sql, kind, _, _, filtered, allowed = found[0]
    _refuse_other_kinds(sql, kind)
    if filtered and not allowed:
        _say_filtered(sql, allowed=False)
    columns = _columns(reading, oid)
    if not all(column.name in columns for column in table.key):
        return None
    return replace(table, key=tuple(columns[column.name] for column in table.key)).key_order


def _columns(reading: SourceConnection, oid: int) -> dict[str, Column]:
    # With no search path, types are named so that a worker with any other one finds them.
    rows = reading.fetch(_COLUMNS, (oid,), local="SET LOCAL search_path = pg_catalog;")
    return {name: Column(name, quoted, type_, not full, collation) for name, quoted, type_, full, collation in rows}


def _refuse_other_kinds(table: str, kind: str) -> None:
    if kind not in "rp":
        what = {"v": "a view", "f": "a foreign table", "m": "a materialized view", "S": "a sequence", "i": "an index"}
        raise UsageError(
            f"{table} is {what.get(kind, 'no table')}: only a table has columns that are never NULL, and the index by "
            "which its rows are read in pages. Read the table behind it."
        )


def _say_filtered(table: str, *, allowed: bool) -> None:
    """Refuse a table whose rows row-level security may hide; warn where that is wanted."""
    hidden = f"Row-level security is active on {table} for this role: rows that its policies hide are left out"
    if allowed:
        logger.warning("%s, as row_security=on says.", hidden)
        return
    raise UsageError(
        f"{hidden} silently. Connect, here and in the workers, as a role that sees all rows (the table's owner, "
        "unless FORCE ROW LEVEL SECURITY is set, or one with BYPASSRLS). If just the rows that the policies show are "
        "wanted, say so in the DSN: options='-c row_security=on'."
    )


def _check(reading: SourceConnection, oid: int, table: Table, *, unique: bool) -> None:
    names = [column.name for column in table.key]
    listed = ", ".join(column.quoted for column in table.key)
    for column in table.key:
        if column.nullable:
            raise UsageError(
                f"The column {column.name} of {table.quoted} may be NULL, and a row without a key would be left out "
                "silently. Mend it with the following, which locks the table while it is read once "
                f"(docs/postgres.rst has a way around that): ALTER TABLE {table.quoted} "
                f"ALTER COLUMN {column.quoted} SET NOT NULL"
            )
    indexes = reading.fetch(_INDEXES, (oid,))
    proved = any(
        is_unique and None not in directions and set(columns) <= set(names)
        for is_unique, columns, directions, _ in indexes
    )
    ordered = any(
        sorts and columns[: len(names)] == names and set(directions[: len(names)]) in ALONG
        for _, columns, directions, sorts in indexes
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


def _warn_of_other_versions(reading: SourceConnection, oid: int, table: Table) -> None:
    """Warn of a key whose texts sort differently than when its index was made, as after an upgrade
    of the system or of ICU: a search in the index then misses rows without an error.
    """
    key = {column.name for column in table.key}
    for name, collation, former, now in reading.fetch(_VERSIONS, (oid,)):
        if name in key:
            logger.warning(
                "the key %s of %s is sorted by the collation %s, whose indexes were made by version %s and which is of "
                "version %s now: where these differ, rows are left out. Mend it with: REINDEX TABLE %s; ALTER "
                "COLLATION %s REFRESH VERSION",
                name,
                table.quoted,
                collation,
                former,
                now,
                table.quoted,
                collation,
            )


def query_plan(reading: SourceConnection, sql: str, values: Sequence[Any], local: str = "") -> dict[str, Any]:
    """Return the server's plan of a query, from EXPLAIN with the settings ``local`` (SQL)."""
    ((text,),) = reading.fetch(f"EXPLAIN (FORMAT JSON) {sql}", values, local=local)
    found: dict[str, Any] = (json.loads(text) if isinstance(text, str) else text)[0]["Plan"]
    return found


def estimate(reading: SourceConnection, sql: str, values: Sequence[Any]) -> int:
    """Return about how many rows a query gives, by the server's statistics: nothing is counted."""
    return int(query_plan(reading, sql, values)["Plan Rows"])


def _like(reading: SourceConnection, table: str) -> str:
    """Return the tables of any schema with a similar name, as the end of a sentence."""
    names = [str(name) for (name,) in reading.fetch(_TABLE_NAMES)]
    found = difflib.get_close_matches(table.rpartition(".")[2].strip('"'), [name.rpartition(".")[2] for name in names])
    near = [name for name in names if name.rpartition(".")[2] in found]
    return f"; there is {', '.join(near[:3])}" if near else ""


def _near(name: str, columns: dict[str, Column]) -> str:
    near = difflib.get_close_matches(name, columns)
    return f"; it has {', '.join(near or columns)}"


_TABLE = """
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text, c.relkind = 'p',
    EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
    row_security_active(c.oid),
    EXISTS (SELECT FROM pg_settings s
            WHERE s.name = 'row_security' AND s.source NOT IN ('default', 'configuration file'))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""
_TABLE_NAMES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 10000
"""
_COLUMNS = """
SELECT a.attname::text, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull,
    CASE WHEN o.collname = 'default' THEN (SELECT datcollate::text FROM pg_database WHERE datname = current_database())
         ELSE coalesce(quote_ident(n.nspname) || '.' || quote_ident(o.collname), '') END
FROM pg_attribute a LEFT JOIN pg_collation o ON o.oid = a.attcollation
LEFT JOIN pg_namespace n ON n.oid = o.collnamespace
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
# Valid indexes over all rows, with the name of each column (NULL for an expression) and its
# direction: 1 for DESC, plus 2 for NULLS FIRST, which DESC implies and ASC does not; the position
# of NULLs counts for the order although there are none. The direction is NULL where the index has
# another collation than the column, or other operators than the type's own: such an index takes
# other values for equal than a comparison does. A B-tree serves the order of its first columns if
# all of them have one direction.
_INDEXES = """
SELECT i.indisunique,
    array_agg(a.attname::text ORDER BY k.position),
    array_agg(CASE WHEN k.sorted = a.attcollation AND o.opcdefault THEN k.direction & 3 END ORDER BY k.position),
    am.amname = 'btree'
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam
CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[], i.indoption::int2[])
    WITH ORDINALITY AS k(number, sorted, class, direction, position)
JOIN pg_opclass o ON o.oid = k.class
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number <> 0
WHERE i.indrelid = %s AND i.indisvalid AND i.indpred IS NULL AND k.position <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisunique, am.amname
"""
# Collations whose version has changed. For the database's default collation, the server itself
# warns on each connection.
_VERSIONS = """
SELECT a.attname::text, quote_ident(n.nspname) || '.' || quote_ident(o.collname), o.collversion,
    pg_collation_actual_version(o.oid)
FROM pg_attribute a JOIN pg_collation o ON o.oid = a.attcollation JOIN pg_namespace n ON n.oid = o.collnamespace
WHERE a.attrelid = %s AND o.collversion <> pg_collation_actual_version(o.oid)
"""
