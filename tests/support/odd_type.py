"""A type of PostgreSQL whose operators are in a schema of their own, as those of an extension."""

from __future__ import annotations

from collections.abc import Callable


def make_odd_type(sql: Callable[..., list[tuple]]) -> None:
    """Make a type as extensions do: it is read as a text, and has an order of its own, that of
    numbers, in the schema ``ext``.
    """
    sql("CREATE SCHEMA ext")
    sql("CREATE TYPE ext.odd")
    internal = "LANGUAGE internal IMMUTABLE STRICT AS"
    sql(f"CREATE FUNCTION ext.odd_in(cstring) RETURNS ext.odd {internal} 'textin'")
    sql(f"CREATE FUNCTION ext.odd_out(ext.odd) RETURNS cstring {internal} 'textout'")
    sql("CREATE TYPE ext.odd (INPUT = ext.odd_in, OUTPUT = ext.odd_out, LIKE = text, CATEGORY = 'S')")
    sql("CREATE CAST (ext.odd AS text) WITHOUT FUNCTION AS IMPLICIT")
    sql("CREATE CAST (int AS ext.odd) WITH INOUT AS ASSIGNMENT")
    compared = "SELECT btint4cmp(a::text::int, b::text::int)"
    sql(f"CREATE FUNCTION ext.odd_cmp(a ext.odd, b ext.odd) RETURNS int LANGUAGE sql IMMUTABLE AS '{compared}'")
    operators = []
    for strategy, (sign, back) in enumerate({"<": ">", "<=": ">=", "=": "=", ">=": "<=", ">": "<"}.items(), 1):
        sql(
            f"CREATE FUNCTION ext.odd_{strategy}(a ext.odd, b ext.odd) RETURNS bool LANGUAGE sql IMMUTABLE "
            f"AS 'SELECT ext.odd_cmp(a, b) {sign} 0'"
        )
        sql(
            f"CREATE OPERATOR ext.{sign} (LEFTARG = ext.odd, RIGHTARG = ext.odd, FUNCTION = ext.odd_{strategy}, "
            f"COMMUTATOR = OPERATOR(ext.{back}))"
        )
        operators.append(f"OPERATOR {strategy} ext.{sign}")
    sql(
        "CREATE OPERATOR CLASS ext.odd_ops DEFAULT FOR TYPE ext.odd USING btree AS "
        f"{', '.join(operators)}, FUNCTION 1 ext.odd_cmp(ext.odd, ext.odd)"
    )
