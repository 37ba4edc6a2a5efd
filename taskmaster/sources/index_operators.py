"""The operators by which a table's indexes order its columns, from PostgreSQL's catalog."""

from __future__ import annotations

__all__ = ["OPERATORS_OF_INDEXES"]

OPERATORS_OF_INDEXES = """\
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) AS k(number, class)
JOIN pg_opclass o ON o.oid = k.class AND o.opcdefault
JOIN pg_am am ON am.oid = o.opcmethod AND am.amname = 'btree'
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
JOIN pg_amop x ON x.amopfamily = o.opcfamily AND x.amopstrategy = 5
    AND x.amoplefttype = o.opcintype AND x.amoprighttype = o.opcintype
JOIN pg_operator p ON p.oid = x.amopopr
JOIN pg_namespace n ON n.oid = p.oprnamespace
"""
"""The end of a statement, from FROM on: the indexed columns (``a``) whose index (``i``) has the
default order of their type, the "greater than" operator (``p``) of that order, and its schema
(``n``).
"""
