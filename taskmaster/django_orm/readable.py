"""Checks that a queryset can be read in parts, which are pages or key ranges, and in which
direction.

Each part is a query of its own. An order, a slice, a window or a group would apply to each part
instead of the whole queryset; such querysets are refused, with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Func, Model, QuerySet, Subquery, Window
from django.db.models.expressions import Col, F, OrderBy, RawSQL
from django.db.models.sql import Query

from taskmaster.django_orm.key import Key, ReadableQuerySet, fields_of, own_field
from taskmaster.errors import UsageError

__all__ = ["as_objects", "in_key_order", "is_whole", "readable", "refuse_partial_groups", "without_conditions"]

OVER_CLAUSE = re.compile(r"\bover\s*\(", re.IGNORECASE)


def readable(queryset: Any, name: str) -> ReadableQuerySet:
    """Return a queryset whose rows can be read in parts.

    Args:
        queryset: a queryset or a manager.
        name: the name of the class or method that reads it, for the messages.

    Raises:
        UsageError: it is no queryset, or the rows of all parts together would not be its rows.
    """
    queryset = queryset.all() if hasattr(queryset, "get_queryset") else queryset
    if isinstance(queryset, type) and issubclass(queryset, Model):
        manager = getattr(getattr(queryset, "_default_manager", None), "name", None) or "objects"
        raise UsageError(
            f"{queryset.__name__} is a model, and not the rows to read: give a queryset of it, such as "
            f"{queryset.__name__}.{manager}.all()."
        )
    if not isinstance(queryset, QuerySet):
        raise UsageError(
            f"{name} was given a {type(queryset).__name__}, which is not a queryset: give one, such as "
            "Post.objects.all()."
        )
    query = queryset.query
    if query.is_sliced:
        raise UsageError(
            f"The queryset is sliced, and {name} takes slices of it itself, one page after the other. Leave out the "
            "[:n]; --limit (limit= in a script) ends a run after n jobs, and filter(...) limits what is read."
        )
    if query.combinator:
        raise UsageError(
            f"The queryset is a {query.combinator}() of others, which cannot be read by pages along a key. Give one "
            "queryset with a condition, such as filter(Q(...) | Q(...)), or run one after the other."
        )
    return queryset


def in_key_order(queryset: ReadableQuerySet, name: str, key: str | Sequence[str]) -> tuple[ReadableQuerySet, bool]:
    """Return the queryset without its order, and whether that was the key's, descending.

    Args:
        queryset: the result of ``readable``.
        name: the name of the class that reads it, for the messages.
        key: the names of the key's fields.

    Raises:
        UsageError: it has an order that is not the key's, or something that does not work in pages.
    """
    query = queryset.query
    if query.distinct_fields:
        raise UsageError(
            f"The queryset has distinct({', '.join(map(repr, query.distinct_fields))}), which wants an order of its "
            f"own, and {name} reads along a key. Take it off, and let the callback find out what is to be done once."
        )
    if query.select_for_update:
        raise UsageError(
            f"The queryset has select_for_update(), which locks rows up to the end of a transaction, and {name} reads "
            "each page outside of one. Take it off, and lock the rows in the callback, inside transaction.atomic()."
        )
    if _has_window([*query.annotations.values(), query.where, *_sql_of(query.extra)]):
        raise UsageError(
            f"The queryset has a window function, and {name} reads it in parts, in each of which the window would "
            "begin anew. Take it off, and compute it in the callback, or in a subquery: "
            "filter(pk__in=Post.objects.annotate(...).filter(...).values('pk'))."
        )
    descending = _direction(query, queryset.model, name, key)
    if descending is None:
        return queryset, False
    plain = queryset._chain()
    plain.query.clear_ordering(force=True)
    plain.query.standard_ordering = True  # reverse() survives order_by()
    return plain, descending


def as_objects(queryset: ReadableQuerySet) -> ReadableQuerySet:
    """Return a queryset of the same rows, of Django's own class and without values(). Borders are
    searched in it, so that no method of the project's changes the query.
    """
    plain: Any = QuerySet(
        model=queryset.model, query=queryset.query.chain(), using=queryset._db, hints=queryset._hints or None
    )
    plain.query.select_for_update = False
    plain.query.select_related = False
    return plain


def is_whole(queryset: ReadableQuerySet) -> bool:
    """Return whether a queryset is just all rows of its model, so that ranges need not be sent with
    its query.
    """
    whole = queryset.model._base_manager.using(queryset.db)
    if type(queryset.query) is not type(whole.query) or queryset._fields is not None:
        return False
    try:
        return bool(str(queryset.query) == str(whole.query))
    except EmptyResultSet:
        return False


def without_conditions(queryset: ReadableQuerySet) -> ReadableQuerySet:
    """Return a queryset of all rows of the model, in the same database.

    In these, the n-th row is found by an index alone. With a condition that few rows fit, the
    server may have to read very many rows to find it.
    """
    return QuerySet(model=queryset.model, using=queryset._db, hints=queryset._hints or None)


def refuse_partial_groups(queryset: ReadableQuerySet, name: str, key: Key) -> None:
    """Check that rows of one group, of an aggregate or of distinct(), are always in one part.

    Raises:
        UsageError: a part could have some rows of a group, and another part the rest.
    """
    query = queryset.query
    grouped = query.group_by if isinstance(query.group_by, tuple | list) else None
    targets = None if grouped is None else {one.target for one in grouped if isinstance(one, Col)}
    if targets is None and query.distinct and queryset._fields:
        selected = [*query.select, *query.annotation_select.values()]
        targets = {one.target for one in selected if isinstance(one, Col)}
    whole = [set(key.fields), set(fields_of(queryset.model, "pk"))]
    if targets is not None and not any(one <= targets for one in whole):
        what = "distinct()" if grouped is None else "an aggregate"
        names = ", ".join(map(repr, key.names))
        raise UsageError(
            f"The queryset has {what} over values without the key, {names}, and {name} reads it in parts, each of "
            "which would have groups of its own. Name a field as the key that all rows of a group have in common, "
            "such as key='created', or give a list of the groups as jobs."
        )


def _direction(query: Query, model: type[Model], name: str, key: str | Sequence[str]) -> bool | None:
    """Return whether the order is the key's, descending; None if there is no order."""
    if query.extra_order_by:
        raise UsageError(_other_order(query.extra_order_by, name))
    order = query.order_by
    if not order and query.standard_ordering:
        return None
    if not order and (turned := query.default_ordering and query.get_meta().ordering):
        if (ascending := _along(turned, model, key)) is None:
            raise UsageError(
                f"reverse() reverses the order of the model, {', '.join(map(str, turned))}, and {name} reads along "
                "a key: leave it out. From the highest key to the lowest is order_by('-pk')."
            )
        return ascending
    if not order:
        return True
    ascending = _along(order, model, key)
    if ascending is None:
        raise UsageError(_other_order(order, name))
    return ascending is not bool(query.standard_ordering)


def _along(order: Sequence[Any], model: type[Model], key: str | Sequence[str]) -> bool | None:
    """Return whether an order by the key ascends; None if it is no order by the key."""
    names = [key] if isinstance(key, str) else list(key)
    wanted = [own_field(model, field) for one in names for field in fields_of(model, one.removeprefix("-"))]
    found: list[Any] = []
    ascending: set[bool] = set()
    for entry in order:
        if len(found) >= len(wanted):
            break  # fields after the whole key do not change the order
        named = _named(entry)
        if named is None:
            return None
        try:
            found += [own_field(model, field) for field in fields_of(model, named.removeprefix("-"))]
        except UsageError:
            return None
        ascending.add(not named.startswith("-"))
    return next(iter(ascending)) if found == wanted and len(ascending) == 1 else None


def _named(entry: Any) -> str | None:
    """Return an entry of an order as a text for order_by(); None if it is more than a name."""
    if isinstance(entry, OrderBy):
        inner = _named(entry.expression)
        return f"-{inner}" if entry.descending and inner else inner
    if isinstance(entry, F):
        return str(entry.name)
    return entry.removeprefix("+") if isinstance(entry, str) and entry != "?" else None


def _other_order(order: Sequence[Any], name: str) -> str:
    return (
        f"The queryset is ordered by {', '.join(map(str, order))}, and {name} reads along a key. Take .order_by(...) "
        f"off; another key than the primary one is named beside the queryset, as in {name}(queryset, key='slug')."
    )


def _has_window(expressions: Sequence[Any]) -> bool:
    """Return whether an expression has a window function, so that a row's values depend on other
    rows of the result. Windows inside of a subquery do not count.
    """
    for expression in expressions:
        if expression is None or isinstance(expression, Query | Subquery):
            continue
        if isinstance(expression, Window) or OVER_CLAUSE.search(_own_sql(expression)):
            return True
        if _has_window(_inner(expression)):
            return True
    return False


def _own_sql(expression: Any) -> str:
    """Return the SQL that the user has written for an expression, as in the template of a Func."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, RawSQL):
        return str(expression.sql)
    if isinstance(expression, Func):
        return f"{expression.extra.get('template', expression.template)} {expression.extra.get('function', '')}"
    return ""


def _inner(expression: Any) -> list[Any]:
    if hasattr(expression, "get_source_expressions"):
        return list(expression.get_source_expressions())
    return list(getattr(expression, "children", ()))


def _sql_of(extra: Any) -> Iterator[str]:
    """Yield the SQL of extra(select=...)."""
    yield from (str(sql) for sql, _ in extra.values())
