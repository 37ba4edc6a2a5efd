"""What a queryset is beside its query: its class, what its rows are made into, and its attributes.

A range of keys goes to the workers with it, so that ``range.queryset().delete()`` is the delete()
of the project's own class, and ``values()`` stays what it was. The form is made of plain values: it
is pickled into state files.
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
"""Path of the class, path of the class that makes the rows, the names of ``values()``, and the
attributes that a class of the project's has beside Django's own.
"""

MANAGER = "manager "


def form_of(queryset: ReadableQuerySet) -> Form | None:
    """Return the form of a queryset; None for one of Django's own class that gives objects.

    Raises:
        UsageError: workers could not find its class.
    """
    if type(queryset) is QuerySet and queryset._iterable_class is ModelIterable:
        return None
    known = vars(QuerySet(queryset.model)).keys()
    own = {name: value for name, value in vars(queryset).items() if name not in known}
    return _path_of(queryset), _path(queryset._iterable_class), queryset._fields, own


def with_form(form: Form | None, model: type[Model], query: Any, using: str | None, hints: Any) -> ReadableQuerySet:
    """Return a queryset of this form.

    Args:
        form: what ``form_of`` gave.
        model: the model of its rows.
        query: its query; a new one is made of it.
        using: the database, None if routers choose it.
        hints: what routers are told.
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
    """Return where the class of a queryset is found: in a module, or as that of a manager's."""
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
