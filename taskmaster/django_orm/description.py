"""What a run over a queryset reads, in words that are the same each time: a state belongs to it.

Two querysets that may give other rows are described differently. What changes by itself from one
start to the next is left out: a moment such as now(), the order of a set, the columns of the model,
the machine on which the database is.
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
LONGEST_QUERY = 200  # characters of a query that are shown; a digest stands for the rest
NAMED_SCALARS = (str, bytes, int, float, Decimal, date, time, UUID)


def describe(queryset: ReadableQuerySet, key: Key) -> str:
    """Return the text by which a run over a queryset is told from another one.

    Args:
        queryset: the queryset, without an order.
        key: the key along which it is read.
    """
    alias = queryset._db or router.db_for_write(queryset.model, **queryset._hints)
    found = connections[alias].settings_dict
    engine, name = str(found["ENGINE"]).rpartition(".")[2], found.get("NAME")
    if engine.startswith(("sqlite", "spatialite")):
        name = PurePath(str(name)).name  # the project may be moved, with its states
    way = ", descending" if key.descending else ""
    return f"{key}{way} of the database {alias!r} ({engine} {name}): {_short(_query_of(queryset, alias))}"


def _query_of(queryset: ReadableQuerySet, alias: str) -> str:
    """Return the query as text, with its values in it."""
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

    def filled(place: re.Match[str]) -> str:
        if place[0] == "%%":
            return "%"
        texts = [_text(next(given)) for _ in range(place[0].count("%s"))]
        return texts[0] if place[0] == "%s" else f"IN ({', '.join(sorted(texts))})"

    return PLACEHOLDERS.sub(filled, sql)


def _text(value: Any) -> str:
    """Return a value as text that is the same in each process."""
    if isinstance(value, datetime | str) and MOMENT.fullmatch(str(value)):
        return "<a moment>"  # probably when the script was started: another in each process
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
