"""A check that PostgreSQL does not hide rows of a queryset's tables by row-level security.

The server leaves such rows out without an error, for the master as for the workers, and a run over
the other rows would end as if all was done.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import connections

from taskmaster.django_orm.key import Key, ReadableQuerySet
from taskmaster.django_orm.key_columns import check_columns
from taskmaster.django_orm.key_operators import check_moments, check_operators
from taskmaster.django_orm.queries import ask
from taskmaster.errors import UsageError
from taskmaster.runtime.log import clean_logger

__all__ = ["check_order", "check_row_security"]

logger = clean_logger(__name__)


def check_order(queryset: ReadableQuerySet, key: Key, patience: float, *, ranges: bool) -> None:
    """Check that a database returns all rows of a queryset, in the order of a key.

    Args:
        queryset: the queryset.
        key: its key.
        patience: seconds for which a database that cannot be read is asked again.
        ranges: whether it is read by key ranges.

    Raises:
        UsageError: it may not; the message says why, with the cure.
    """
    check_columns(queryset, key, patience)
    check_operators(queryset, key, patience)
    check_moments(queryset, key, patience, ranges=ranges)
    check_row_security(queryset, patience)


def check_row_security(queryset: ReadableQuerySet, patience: float) -> None:
    """Check that no row of the queryset's tables is hidden, or that this is wanted.

    Args:
        queryset: the queryset.
        patience: seconds for which a database that cannot be read is asked again.

    Raises:
        UsageError: rows may be hidden; the message names the table, with the cure.
    """
    if connections[queryset.db].vendor != "postgresql":
        return
    meta = queryset.model._meta
    tables = {meta.db_table, *(parent._meta.db_table for parent in meta.get_parent_list())}
    tables |= {joined.table_name for joined in queryset.query.alias_map.values() if joined.table_name}
    for table, wanted in ask(queryset, partial(_hidden, sorted(tables)), patience):
        hidden = f"Row-level security is active on {table} for this role: rows that its policies hide are left out"
        if not wanted:
            raise UsageError(
                f"{hidden} silently. Connect, here and in the workers, as a role that sees all rows (the table's "
                "owner, unless FORCE ROW LEVEL SECURITY is set, or one with BYPASSRLS). If just the rows that the "
                "policies show are wanted, say so in DATABASES: 'OPTIONS': {'options': '-c row_security=on'}."
            )
        logger.warning("%s, as row_security=on says.", hidden)


def _hidden(tables: list[str], rows: ReadableQuerySet) -> list[tuple[Any, ...]]:
    connection = connections[rows.db]
    with connection.cursor() as cursor:
        cursor.execute(_HIDDEN_BY_POLICIES, [[connection.ops.quote_name(table) for table in tables]])
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


_HIDDEN_BY_POLICIES = """
SELECT c.oid::regclass::text, s.source NOT IN ('default', 'configuration file')
FROM pg_class c, pg_settings s
WHERE c.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
AND c.relrowsecurity AND row_security_active(c.oid) AND s.name = 'row_security' ORDER BY 1
"""
