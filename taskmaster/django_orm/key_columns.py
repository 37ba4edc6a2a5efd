"""A check that the columns of a key have types that fit the fields of the model.

In a table that Django has not created, a column may have another type than the field: Django reads
a value in one type and compares it in another, which rounds it, or shifts it to another time zone.
Then rows are read twice, or left out without an error.
"""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.db import connections
from django.utils import timezone

from taskmaster.django_orm.key import INTEGERS, Key, ReadableQuerySet
from taskmaster.django_orm.key_operators import has_hours_twice
from taskmaster.django_orm.queries import ask
from taskmaster.errors import UsageError

__all__ = ["check_columns"]

FLOAT_DIGITS = 15  # most digits of a decimal that a float keeps exactly
TYPMOD_HEADER = 4  # is added to the digits of a number in atttypmod

# Types of columns whose values a field rounds when it compares them.
ROUNDED = {
    "FloatField": {"real", "numeric", "bigint"},
    "DecimalField": {"real", "double precision"},
    "DateField": {"timestamp", "timestamp with time zone"},
    **{kind: {"real", "double precision", "numeric"} for kind in INTEGERS},
}
NAMES = {
    "float4": "real",
    "float8": "double precision",
    "int8": "bigint",
    "timestamptz": "timestamp with time zone",
}


def check_columns(queryset: ReadableQuerySet, key: Key, patience: float) -> None:
    """Check that the database stores and compares the values of a key as Django reads them.

    Args:
        queryset: the queryset.
        key: its key.
        patience: seconds for which a database that cannot be read is asked again.

    Raises:
        UsageError: values are rounded or shifted, so that several rows seem to have the same key.
    """
    connection = connections[queryset.db]
    for own, field in zip(key.fields, key.bare_fields, strict=True):
        kind, label = field.get_internal_type(), f"{key.model._meta.label}.{own.name}"
        if connection.vendor == "sqlite" and kind == "DecimalField" and (field.max_digits or 99) > FLOAT_DIGITS:
            raise UsageError(
                f"{label} has {field.max_digits} digits, and SQLite keeps decimals as floats with {FLOAT_DIGITS} of "
                "them: rows whose keys differ look alike. Read along another key, such as an integer."
            )
        if connection.vendor != "postgresql" or kind not in (*ROUNDED, "DateTimeField"):
            continue
        table, column = own.model._meta.db_table, own.column
        found = ask(queryset, partial(_type_of, table, column), patience)
        if found is not None and (why := _differs(kind, *found, zone=connection.timezone_name)):
            wanted = field.db_type(connection)
            raise UsageError(
                f"{label} is no key here: the column {column} of {table} is {NAMES.get(found[0], found[0])}, and a "
                f"{kind} {why}, so that rows would be left out, or come twice. Read along another key; or let the "
                f"column be what the field is (ALTER TABLE {table} ALTER {column} TYPE {wanted}), or the field what "
                "the column is."
            )


def _differs(kind: str, name: str, typmod: int, *, zone: str) -> str:
    """Return how a field changes the values of a column, as the rest of a sentence; "" if it does
    not.
    """
    if kind == "DateTimeField":
        naive = settings.USE_TZ and name in ("timestamp", "date")
        same = zone == timezone.get_default_timezone_name() and not has_hours_twice(zone)
        return "takes its values, which have no zone, for moments of TIME_ZONE" if naive and not same else ""
    if name == "numeric" and typmod >= TYPMOD_HEADER:
        digits, places = divmod(typmod - TYPMOD_HEADER, 1 << 16)
        if (digits <= FLOAT_DIGITS) if kind == "FloatField" else (places == 0):
            return ""
    return "rounds its values" if NAMES.get(name, name) in ROUNDED.get(kind, ()) else ""


def _type_of(table: str, column: str, rows: ReadableQuerySet) -> tuple[str, int] | None:
    """Return the type of a column and its modifier, for a domain those of its base type; None if
    the column is unknown.
    """
    connection = connections[rows.db]
    with connection.cursor() as cursor:
        cursor.execute(_TYPE_OF_COLUMN, [connection.ops.quote_name(table), column])
        found: tuple[str, int] | None = cursor.fetchone()
    return found


_TYPE_OF_COLUMN = """
SELECT below.typname::text, CASE WHEN own.typtype = 'd' THEN own.typtypmod ELSE a.atttypmod END
FROM pg_attribute a JOIN pg_type own ON own.oid = a.atttypid
JOIN pg_type below ON below.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
WHERE a.attrelid = to_regclass(%s) AND a.attname = %s
"""
