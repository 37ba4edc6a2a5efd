"""The form of a queryset, which is all but its query: its class, the kind of rows that it makes,
and its attributes.

A range of keys is sent to the workers with it, so that ``range.queryset().delete()`` calls the
delete() of the project's own class, and ``values()`` stays in force. The form consists of plain
values, because it is pickled into state files.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable

from taskmaster.django_orm.key import ReadableQuerySet
from taskmaster.errors import UsageError

__all__ = ["Form", "form_of", "with_form"]

Form = tuple[str, str, Any, dict[str, Any]]
"""The path of the class, the path of the iterable class that makes the rows, the names of
``values()``, and the attributes that a class of the project's has beside Django's own.
"""

MANAGER = "manager "


def form_of(queryset: ReadableQuerySet) -> Form | None:
    """Return the form of a queryset; None if its class is Django's own and its rows are objects.

    Raises:
        UsageError: its class cannot be imported by workers.
    """
    if type(queryset) is QuerySet and queryset._iterable_class is ModelIterable:
        return None
    known = vars(QuerySet(queryset.model)).keys()
    own = {name: value for name, value in vars(queryset).items() if name not in known}
    return _path_of(queryset), _path(queryset._iterable_class), queryset._fields, own


def with_form(form: Form | None, model: type[Model], query: Any, using: str | None, hints: Any) -> ReadableQuerySet:
    """Return a queryset of this form.

    Args:
        form: the result of ``form_of``.
        model: the model of its rows.
        query: its query, which is copied.
        using: the alias of the database; None if routers choose it.
        hints: the hints for routers.
    """
    if form is None:
        return QuerySet(model=model, query=query.chain(), using=using, hints=hints)
    kind, iterable, fields, own = form
    if kind.startswith(MANAGER):
        made = type(_managers(model)[kind.removeprefix(MANAGER)].get_queryset())
    else:
        made = _found(kind)
    queryset = made(model=model, query=query.chain(), using=using, hints=hints)
    queryset._iterable_class = _found(iterable)
    queryset._fields = fields
    for name, value in own.items():
        setattr(queryset, name, value)
    return queryset


def _path_of(queryset: ReadableQuerySet) -> str:
    """Return the path of a queryset's class: in a module, or by the manager that makes it.

    Raises:
        UsageError: there is neither.
    """
    kind = type(queryset)
    path = _path(kind)
    try:
        if _found(path) is kind:
            return path
    except (ImportError, AttributeError):
        pass
    for name, manager in _managers(queryset.model).items():
        if type(manager.get_queryset()) is kind:
            return MANAGER + name
    raise UsageError(
        f"The queryset's class {kind.__qualname__} cannot be imported by its name, so that workers do not have its "
        f"methods. Define it at the top of the module {kind.__module__}."
    )


def _managers(model: type[Model]) -> dict[str, Any]:
    return {manager.name: manager for manager in model._meta.managers}


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _found(path: str) -> Any:
    module, _, names = path.partition(":")
    found: Any = import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found
