"""Whether an index covers the condition of ``rows``: has just the rows that fit it, in the order of
the key.

Checked before the first page. A run without such an index is correct too, but slower: the server
reads rows that it does not return.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskmaster.postgres.catalog import estimate, query_plan
from taskmaster.postgres.pages import PageStatements
from taskmaster.postgres.statements import SourceConnection
from taskmaster.runtime.log import clean_logger

__all__ = ["warn_without_index"]

logger = clean_logger(__name__)

# Settings with which the server plans to read in the order of an index, if it can.
ORDERED = "".join(f"SET LOCAL enable_{what} = off;" for what in ("seqscan", "bitmapscan", "sort"))


def warn_without_index(reading: SourceConnection, statements: PageStatements, until: Any) -> None:
    """Warn, with the plan and the index that mends it, if no index covers the condition."""
    request, table = statements.request, statements.table
    if request.condition is None:
        return
    sql, values = statements.keys(None, until, f"LIMIT {request.chunk}")
    # The server sorts a small table whatever its indexes are. What counts is what it can do if it
    # is told not to.
    forced = _nodes(query_plan(reading, sql, values, ORDERED))
    if not any("Filter" in node or "Sort" in node["Node Type"] for node in forced):
        return
    where, bounds = statements.where(None, until)
    wanted = estimate(reading, f"SELECT FROM {table.sql}{where}", bounds)
    every = estimate(reading, f"SELECT FROM {table.sql}", ())
    condition = reading.written_out(request.condition, request.values)
    logger.warning(
        "no index covers the condition (%s) in the order of the key: the server looks at about %.3g rows of %s "
        "for each that it gives. The plan is: %s. Where that is too many, an index mends it: %s WHERE %s",
        condition,
        max(1, every) / max(1, min(wanted, every)),
        table.quoted,
        " <- ".join(_step(node) for node in _nodes(query_plan(reading, sql, values))),
        table.index(),
        condition,
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _step(node: dict[str, Any]) -> str:
    what = f"{node['Node Type']}{' on ' + node['Index Name'] if 'Index Name' in node else ''}"
    return what + (f", filter {node['Filter']}" if "Filter" in node else "")
