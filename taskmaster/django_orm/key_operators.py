"""Whether PostgreSQL compares a key in the order in which it is read.

ORDER BY follows the type; ``>`` is the operator that the search path leads to. Where it does not
lead to that of a type, as of an extension (citext) in a schema of its own, the values are compared
as texts: in another order, so that rows are left out or come twice, without a word.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import connections

from taskmaster.django_orm.key import Key, ReadableQuerySet
from taskmaster.django_orm.queries import ask
from taskmaster.errors import UsageError
from taskmaster.sources.index_operators import OPERATORS_OF_INDEXES

__all__ = ["check_operators"]

# What Django makes these of is the server's own, whose operators are always found.
SERVERS_OWN = {
    *("AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField"),
    *("PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField", "BooleanField", "DecimalField"),
    *("UUIDField", "DateField", "DateTimeField", "TimeField", "DurationField", "FloatField", "BinaryField"),
}


def check_operators(queryset: ReadableQuerySet, key: Key, patience: float) -> None:
    """See that a key is compared as its index orders it, before the first row is read.

    Raises:
        UsageError: names the column and the schema, with the cure.
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


def _may_be_hidden(field: Any) -> bool:
    return field.get_internal_type() not in SERVERS_OWN


def _hidden(table: str, rows: ReadableQuerySet) -> list[tuple[Any, ...]]:
    connection = connections[rows.db]
    with connection.cursor() as cursor:
        cursor.execute(_HIDDEN, [connection.ops.quote_name(table)])
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


# Indexed columns whose type has an order by operators that the search path does not lead to.
_HIDDEN = f"""
SELECT DISTINCT a.attname::text, quote_ident(n.nspname)
{OPERATORS_OF_INDEXES}
WHERE i.indrelid = to_regclass(%s) AND NOT pg_operator_is_visible(p.oid)
"""
