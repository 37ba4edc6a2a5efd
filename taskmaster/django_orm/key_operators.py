"""Checks that PostgreSQL compares a key in the same order in which it sorts it.

ORDER BY uses the order of the type; ``>`` is the operator that the server finds by the search path.
If the operator of a type is not found there, as with an extension (citext) in a schema of its own,
values are compared as texts: in another order, so that rows are left out or read twice, without an
error.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connections

from taskmaster.django_orm.key import Key, ReadableQuerySet
from taskmaster.django_orm.queries import ask
from taskmaster.errors import UsageError
from taskmaster.sources.index_operators import OPERATORS_OF_INDEXES

__all__ = ["check_moments", "check_operators", "has_hours_twice"]

LAST_YEAR_OF_ZONES = 2038  # until then, changes of a time zone's clocks are looked for

# Fields whose column types are the server's own: their operators are always found.
SERVERS_OWN = {
    *("AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField"),
    *("PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField", "BooleanField", "DecimalField"),
    *("UUIDField", "DateField", "DateTimeField", "TimeField", "DurationField", "FloatField", "BinaryField"),
}


def check_operators(queryset: ReadableQuerySet, key: Key, patience: float) -> None:
    """Check, before the first row is read, that a key is compared in the order of its index.

    Raises:
        UsageError: it is not; the message names the column and the schema, with the cure.
    """
    columns = [(field.model._meta.db_table, field.column) for field in key.bare_fields if _may_be_hidden(field)]
    if not columns or connections[queryset.db].vendor != "postgresql":
        return
    for table in dict(columns):
        for column, schema in ask(queryset, partial(_hidden, table), patience):
            if (table, column) in columns:
                raise UsageError(
                    f"The column {column} of {table} is compared by operators of the schema {schema}, which the search "
                    "path of the connection does not lead to: its values would be compared as texts, and rows left "
                    f"out. Add it in DATABASES: 'OPTIONS': {{'options': '-c search_path=public,{schema}'}}."
                )


def check_moments(queryset: ReadableQuerySet, key: Key, patience: float, *, ranges: bool) -> None:
    """Check that moments of a key stay distinct in the hour that a time zone has twice.

    Args:
        queryset: the queryset.
        key: its key.
        patience: seconds for which a database that cannot be read is asked again.
        ranges: whether it is read by ranges, whose borders the server alone compares: it takes a
            doubtful moment for the later one.

    Raises:
        UsageError: they do not, so that rows would be left out, or be read again without an end.
    """
    connection = connections[queryset.db]
    fields = [field for field in key.bare_fields if field.get_internal_type() == "DateTimeField"]
    if not fields or connection.vendor != "postgresql":
        return
    # psycopg2 returns a time of day in the zone: where the zone has an hour twice, it does not say
    # which of the two moments that was.
    exact = connection.Database.__name__ == "psycopg" if settings.USE_TZ else ranges
    zone = connection.timezone_name
    if exact or not has_hours_twice(zone):
        return
    for field in fields:
        if ask(queryset, partial(_is_converted, field.model._meta.db_table, field.column), patience):
            cure = "psycopg 3, or no TIME_ZONE in DATABASES" if settings.USE_TZ else "USE_TZ = True, or QuerySetRanges"
            raise UsageError(
                f"{key.model._meta.label}.{field.name} is no key here: the zone {zone} has an hour twice when its "
                "clocks are turned back, and Django gives the moments of both alike, so that rows would be left out. "
                f"Read along another key, such as the primary one; or take {cure}."
            )


def has_hours_twice(zone: str) -> bool:
    """Return whether the clocks of a zone are ever turned back between 1970 and 2038."""
    moments = [
        datetime(year, month, 1, tzinfo=UTC) for year in range(1970, LAST_YEAR_OF_ZONES) for month in range(1, 13)
    ]
    return len({moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in moments}) > 1


def _is_converted(table: str, column: str, rows: ReadableQuerySet) -> bool:
    """Return whether a column is a timestamptz, which is converted to the connection's zone."""
    connection = connections[rows.db]
    with connection.cursor() as cursor:
        cursor.execute(_CONVERTED, [connection.ops.quote_name(table), column])
        return cursor.fetchone() is not None


def _may_be_hidden(field: Any) -> bool:
    return field.get_internal_type() not in SERVERS_OWN


def _hidden(table: str, rows: ReadableQuerySet) -> list[tuple[Any, ...]]:
    connection = connections[rows.db]
    with connection.cursor() as cursor:
        cursor.execute(_HIDDEN, [connection.ops.quote_name(table)])
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


_CONVERTED = """
SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND atttypid = 'timestamptz'::regtype
"""
# The indexed columns whose order has operators that the search path does not lead to.
_HIDDEN = f"""
SELECT DISTINCT a.attname::text, quote_ident(n.nspname)
{OPERATORS_OF_INDEXES}
WHERE i.indrelid = to_regclass(%s) AND NOT pg_operator_is_visible(p.oid)
"""
