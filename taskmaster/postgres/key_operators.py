"""By which operators keys are compared: by those of the index that gives their order.

A plain ``>`` is the operator that the search path leads to. Where it does not lead to that of a
type, as of an extension in a schema of its own, the values are compared as texts: in another order
than that in which they are read, so that rows are left out without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from taskmaster.errors import UsageError
from taskmaster.postgres.statements import SourceConnection
from taskmaster.sources.index_operators import OPERATORS_OF_INDEXES

__all__ = ["KeyOperators", "is_visible", "operator_of", "operators_of"]


class KeyOperators(NamedTuple):
    """By which operators a key is compared.

    Attributes:
        schema: Their schema, as SQL; "" where none need be named.
        searched: Operators that only a search path leads to, because those of the key's columns are
            of several schemas, and a row of values takes no schema for each; as ``regoperator``
            reads them.
    """

    schema: str = ""
    searched: tuple[str, ...] = ()


def is_visible(operator: str) -> str:
    """Return a condition that is true where the search path leads to an operator, and an error of
    the server's where it does not: another operator would choose other rows.
    """
    named = operator.replace("'", "''").replace("%", "%%")
    schema = named.partition(".")[0]
    why = f"the search path does not lead to {named}: add the schema {schema} to it, as the master has it"
    # What has no column in it is evaluated once; and without current_schema, while it is planned.
    return (
        f"(SELECT CASE WHEN pg_operator_is_visible('{named}'::regoperator) THEN true "
        f"ELSE CAST('{why}' || coalesce(current_schema(), '') AS boolean) END)"
    )


def operator_of(sign: str, schema: str) -> str:
    """Return an operator as SQL: that of the schema, or for "" the one that is found without."""
    return f"OPERATOR({schema}.{sign})" if schema else sign


def operators_of(reading: SourceConnection, oid: int, table: str, key: Mapping[str, str]) -> KeyOperators:
    """Return the operators that compare a key.

    Args:
        reading: asks the server.
        oid: of the table, whose indexes are looked at.
        table: its name, for messages.
        key: the types of the key's columns by their names.

    Raises:
        UsageError: they cannot be compared, or not by operators of one schema.
    """
    found = {name: rest for name, *rest in reading.fetch(_OPERATORS, (oid,))}
    for name, (_, above, _, _) in found.items():
        if name in key and above != ">":
            raise UsageError(
                f"The key {name} of {table} is of the type {key[name]}, whose order is that of the operator {above}: "
                "its values cannot be compared with < and >. Name another key."
            )
    chosen = [found[name] for name in key if name in found]
    schemas = {schema for schema, _, _, _ in chosen}
    if len(schemas) <= 1:
        return KeyOperators("".join(schemas).replace("%", "%%"))
    hidden = sorted({schema for schema, _, visible, _ in chosen if not visible})
    if hidden:
        raise UsageError(
            f"The key of {table} is compared by operators of several schemas, and the search path does not lead to "
            f"those of {', '.join(hidden)}: the values would be compared as texts, and rows left out. Name the schema "
            f"in the DSN, here and in the workers: options='-c search_path=public,{','.join(hidden)}'."
        )
    return KeyOperators(searched=tuple(sorted({signature for schema, _, _, signature in chosen if schema})))


_TYPE = (
    "(SELECT format('%%I.%%I', m.nspname, t.typname) FROM pg_type t "
    "JOIN pg_namespace m ON m.oid = t.typnamespace WHERE t.oid = {})"
)

# By which operator the default order of each indexed column's type says "above", its schema ("" for
# the server's own), whether the search path leads to it, and it with the types that it compares.
_OPERATORS = f"""
SELECT DISTINCT a.attname::text, CASE n.nspname WHEN 'pg_catalog' THEN '' ELSE quote_ident(n.nspname) END,
    p.oprname::text, pg_operator_is_visible(p.oid),
    format('%%I.%%s(%%s,%%s)', n.nspname, p.oprname, {_TYPE.format("p.oprleft")}, {_TYPE.format("p.oprright")})
{OPERATORS_OF_INDEXES}
WHERE i.indrelid = %s
"""
