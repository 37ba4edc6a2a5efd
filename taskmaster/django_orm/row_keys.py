"""Takes the key out of a row of a queryset, which is an object, a dict, a tuple or a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models.query import (
    FlatValuesListIterable,
    ModelIterable,
    NamedValuesListIterable,
    ValuesIterable,
    ValuesListIterable,
)

from taskmaster.django_orm.key import Key, ReadableQuerySet, own_field
from taskmaster.errors import UsageError

__all__ = ["parts_of"]


def parts_of(queryset: ReadableQuerySet, key: Key) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns the values of the key's fields of a row.

    Raises:
        UsageError: the rows of the queryset do not have them.
    """
    kind = queryset._iterable_class
    query = queryset.query
    if issubclass(kind, ModelIterable):
        _refuse_deferred(query, key)
        return lambda row: tuple(getattr(row, name) for name in key.names)
    # The names of a row's values in their order; values() without a name has all fields.
    names = list(queryset._fields or [*query.extra_select, *query.values_select, *query.annotation_select])
    if "pk" in names and len(key.names) > 1 and key.primary:
        return _whole_key_of(kind, names)
    indexes = [names.index(one) for one in (_called(name, names, key) for name in key.names) if one is not None]
    if len(indexes) < len(key.names) or kind not in (
        ValuesIterable, ValuesListIterable, NamedValuesListIterable, FlatValuesListIterable
    ):  # fmt: skip
        wanted = ", ".join(map(repr, key.names))
        raise UsageError(
            f"The rows of the queryset have {', '.join(map(str, names)) or 'no field'}, and not the key, {wanted}, at "
            f"which reading goes on: add it, as in .values_list({wanted}, ...), without flat=True unless it is the key "
            "alone; or use .only(...), which gives objects."
        )
    if issubclass(kind, FlatValuesListIterable):
        return lambda row: (row,)
    if issubclass(kind, ValuesIterable):
        wanted_names = [names[index] for index in indexes]
        return lambda row: tuple(row[name] for name in wanted_names)
    return lambda row: tuple(row[index] for index in indexes)


def _refuse_deferred(query: Any, key: Key) -> None:
    """Check that objects are loaded with their key: otherwise each would cost a query."""
    names, deferred = query.deferred_loading
    missing = ", ".join(map(repr, key.left_out(names, deferred=deferred)))
    if missing:
        method, cure = ("defer", "take it out") if deferred else ("only", "add it")
        raise UsageError(
            f"The queryset's .{method}(...) leaves out {missing}, at which reading goes on: {cure} there, or each row "
            "would cost a query of its own."
        )


def _whole_key_of(kind: Any, names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return that function for rows in which a composite primary key is one value."""
    if issubclass(kind, FlatValuesListIterable):
        return tuple
    at: Any = "pk" if issubclass(kind, ValuesIterable) else names.index("pk")
    return lambda row: tuple(row[at])


def _called(name: str, names: list[str], key: Key) -> str | None:
    """Return the name that a field has among the names of ``values()``: ``author_id`` may be
    ``author``, and the primary key ``pk`` or that of a parent; None if it is not among them.
    """
    meta = key.model._meta
    field = next(one for one in meta.concrete_fields if one.attname == name)
    also = ["pk", *(one.attname for one in meta.concrete_fields if own_field(key.model, one) is field)]
    return next((one for one in (name, field.name, *(also if field is meta.pk else ())) if one in names), None)
