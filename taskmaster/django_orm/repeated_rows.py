"""Whether several rows of a queryset may have the same key, and whether these may differ.

A condition on a joined table repeats a row. Different rows with the same key are possible where the
database does not keep the key unique, even if the model says so: in a view, and in tables of
PostgreSQL from which others inherit, or whose partitions have keys of their own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import connections
from django.db.models import Model
from django.db.models.expressions import Col

from taskmaster.django_orm.key import Key, ReadableQuerySet
from taskmaster.django_orm.queries import ask

__all__ = ["alike", "is_kept_unique", "may_differ", "may_repeat"]


def may_repeat(queryset: ReadableQuerySet) -> bool:
    """Return whether several rows may have the same key, as with joined tables or in a view."""
    query = queryset.query
    joined = len(query.alias_map) > 1 or query.extra_tables or getattr(query, "_filtered_relations", None)
    return bool(joined) or not queryset.model._meta.managed


def may_differ(queryset: ReadableQuerySet) -> bool:
    """Return whether rows with the same key may differ: those of a view, and those with more than
    the columns of the model.
    """
    query = queryset.query
    beside = query.annotation_select or query.extra_select or query.select_related
    own = all(isinstance(one, Col) and one.alias == query.base_table for one in query.select)
    return bool(beside) or not own or not queryset.model._meta.managed


def alike(one: Any, other: Any) -> bool:
    """Return whether two rows with the same key are equal in all that was selected."""
    if not isinstance(one, Model):
        return bool(one == other)
    left, right = (
        {**vars(row), "_state": row._state.fields_cache, "_prefetched_objects_cache": None} for row in (one, other)
    )
    return bool(left == right)


def is_kept_unique(queryset: ReadableQuerySet, key: Key, patience: float) -> bool:
    """Return whether PostgreSQL keeps the key unique.

    Args:
        queryset: the queryset.
        key: its key.
        patience: seconds for which a database that cannot be read is asked again.
    """
    table, *others = {field.model._meta.db_table for field in key.fields}
    columns = [field.column for field in key.fields]
    return not others and ask(queryset, partial(_has_unique_index, table, columns), patience)


def _has_unique_index(table: str, columns: list[str], rows: ReadableQuerySet) -> bool:
    connection = connections[rows.db]
    with connection.cursor() as cursor:
        cursor.execute(_UNIQUE, [columns, connection.ops.quote_name(table)])
        return cursor.fetchone() is not None


# An index of a partitioned table covers its partitions; an index of a table does not have the rows
# of tables that inherit from it.
_UNIQUE = """
SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
AND (SELECT array_agg(a.attname::text) FROM pg_attribute a
     WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0 : i.indnkeyatts - 1])) <@ %s::text[]
AND i.indrelid = to_regclass(%s)
AND (c.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = i.indrelid))
"""
