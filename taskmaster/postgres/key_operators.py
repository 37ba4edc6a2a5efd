"""The operators by which keys are compared: those of the index that gives their order.

A plain ``>`` means the operator that the server finds by the search path. If the operator of a type
is not found there, as with an extension in a schema of its own, the server compares the values as
texts: in another order than that of the index, so that rows would be left out without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from taskmaster.errors import UsageError
from taskmaster.postgres.statements import SourceConnection
from taskmaster.sources.index_operators import OPERATORS_OF_INDEXES

__all__ = ["KeyOperators", "is_visible", "operator_of", "operators_of"]


class KeyOperators(NamedTuple):
    """The operators by which a key is compared.

    Attributes:
        schema: Their schema, as SQL; "" where none need be named.
        searched: Operators that the server has to find by the search path, as ``regoperator`` reads
            them: those of the key's columns are of several schemas, and a comparison of rows can
            name only one.
    """

    schema: str = ""
    searched: tuple[str, ...] = ()


def is_visible(operator: str) -> str:
    """Return an SQL condition that is true where the search path leads to an operator, and an error
    on the server where it does not: another operator would choose other rows.
    """
    named = operator.replace("'", "''").replace("%", "%%")
    schema = named.partition(".")[0]
    why = f"the search path does not lead to {named}: add the schema {schema} to it, as the master has it"
    # An expression without columns is evaluated once. Without current_schema it would be constant,
    # and raise its error while the statement is planned, even where it is not needed.
    return (
        f"(SELECT CASE WHEN pg_operator_is_visible('{named}'::regoperator) THEN true "
        f"ELSE CAST('{why}' || coalesce(current_schema(), '') AS boolean) END)"
    )


def operator_of(sign: str, schema: str) -> str:
    """Return an operator as SQL: that of the schema, or for "" the one that the server finds."""
    return f"OPERATOR({schema}.{sign})" if schema else sign


def operators_of(reading: SourceConnection, oid: int, table: str, key: Mapping[str, str]) -> KeyOperators:
    """Return the operators that compare a key.

    Args:
        reading: the connection that asks the server.
        oid: the table's OID; its indexes tell the operators.
        table: the table's name, for messages.
        key: the types of the key's columns, by their names.

    Raises:
        UsageError: the values cannot be compared with < and >, or the operators are of several
            schemas and the search path does not lead to all of them.
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

# For each indexed column: the schema of the "greater than" operator of its type's default order (""
# for the server's own), the operator, whether the search path leads to it, and its full signature.
_OPERATORS = f"""
SELECT DISTINCT a.attname::text, CASE n.nspname WHEN 'pg_catalog' THEN '' ELSE quote_ident(n.nspname) END,
    p.oprname::text, pg_operator_is_visible(p.oid),
    format('%%I.%%s(%%s,%%s)', n.nspname, p.oprname, {_TYPE.format("p.oprleft")}, {_TYPE.format("p.oprright")})
{OPERATORS_OF_INDEXES}
WHERE i.indrelid = %s
"""
