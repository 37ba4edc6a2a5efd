"""A description of what a run over a queryset reads, by which a state is matched to its run.

Querysets that may give different rows have different descriptions. What changes by itself from one
start to the next is not in it: a moment such as now(), the order of a set, the columns of the
model, the machine of the database.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal
from hashlib import blake2b
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.models.query import ModelIterable

from taskmaster.django_orm.key import Key, ReadableQuerySet

__all__ = ["describe"]

PLACEHOLDERS = re.compile(r"\bIN \((?:%s(?:, %s)*)\)|%s|%%")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.(?!000000)\d{6}(?:[+-][\d:]+)?")
LONGEST_QUERY = 200  # most characters of a query that are shown; a digest stands for a longer one
NAMED_SCALARS = (str, bytes, int, float, Decimal, date, time, UUID)


def describe(queryset: ReadableQuerySet, key: Key) -> str:
    """Return the text that tells a run over a queryset from other runs.

    Args:
        queryset: the queryset, without an order.
        key: the key in whose order it is read.
    """
    alias = queryset._db or router.db_for_write(queryset.model, **queryset._hints)
    found = connections[alias].settings_dict
    engine, name = str(found["ENGINE"]).rpartition(".")[2], found.get("NAME")
    if engine.startswith(("sqlite", "spatialite")):
        name = PurePath(str(name)).name  # the project may be moved, with its states
    way = ", descending" if key.descending else ""
    return f"{key}{way} of the database {alias!r} ({engine} {name}): {_short(_query_of(queryset, alias))}"


def _query_of(queryset: ReadableQuerySet, alias: str) -> str:
    """Return the query as text, with its values filled in."""
    query = queryset.query.chain()
    query.clear_ordering(force=True)
    query.select_for_update = False
    query.select_related = False
    if queryset._iterable_class is ModelIterable and not query.distinct:
        # A migration may add a column while the run is interrupted.
        query.clear_deferred_loading()
        query.add_immediate_loading(["pk"])
    try:
        sql, values = query.get_compiler(alias).as_sql()
    except EmptyResultSet:
        return "no rows"
    given = iter(values)

    def filled(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        texts = [_text(next(given)) for _ in range(match[0].count("%s"))]
        return texts[0] if match[0] == "%s" else f"IN ({', '.join(sorted(texts))})"

    return PLACEHOLDERS.sub(filled, sql)


def _text(value: Any) -> str:
    """Return a value as text that is the same in each process."""
    if isinstance(value, datetime | str) and MOMENT.fullmatch(str(value)):
        return "<a moment>"  # probably that of the start, which differs from process to process
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, NAMED_SCALARS):
        return str(value)
    inner = getattr(value, "obj", getattr(value, "adapted", None))  # of a wrapper of the driver's
    return type(value).__name__ if inner is None else str(inner)


def _short(text: str) -> str:
    if len(text) <= LONGEST_QUERY:
        return text
    return f"{text[:LONGEST_QUERY]}... [{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}]"
