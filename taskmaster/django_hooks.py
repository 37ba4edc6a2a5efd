"""Where Taskmaster makes room for a Django project, without Django where there is none.

Called by the parts of the core that import, fork, run or read the user's code. Django is imported only if its settings
are named; all else happens only where the user's code has imported it already. What is done is in
``taskmaster.django_orm``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "SETTINGS",
    "ProjectOptions",
    "as_source",
    "close_before_fork",
    "close_connections",
    "cure",
    "drop_after_fork",
    "refresh_connections",
    "set_up_project",
]

SETTINGS = "DJANGO_SETTINGS_MODULE"
"""The environment variable that names a project's settings."""


@dataclass(frozen=True)
class ProjectOptions:
    """What all commands can be told of a project."""

    django_settings: str | None = field(
        default=None,
        metadata={"commands_only": "here, call django.setup() before the models are imported"},
    )
    """Settings of the Django project that the target belongs to, as a dotted name."""


def set_up_project() -> None:
    """Set the project up whose settings the environment names; before a target is imported.

    Raises:
        TargetError: that is not possible.
    """
    settings = os.environ.get(SETTINGS)
    if settings:
        from taskmaster.django_orm.project import set_up

        set_up(settings)


def cure(exc: BaseException) -> str:
    """What to add to the message about a target that raised this: "" if it has nothing to do with Django."""
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(exc).__mro__}
    unset = {"django.core.exceptions.ImproperlyConfigured", "django.core.exceptions.AppRegistryNotReady"}
    if not names & unset or os.environ.get(SETTINGS):
        return ""
    return (
        " It uses Django, whose settings are not known: name them with --django-settings=PACKAGE.settings, or with "
        f"{SETTINGS} in the environment."
    )


def as_source(jobs: Any) -> Any:
    """What the user gave; if it is a queryset or a manager, as a source that reads it by pages.

    Raises:
        UsageError: the queryset is none that can be read in this way; or it is a model, which has none of its own.
    """
    models = sys.modules.get("django.db.models")
    kinds = tuple(getattr(models, name) for name in ("QuerySet", "Manager") if hasattr(models, name))
    if not (isinstance(jobs, kinds) or (isinstance(jobs, type) and issubclass(jobs, getattr(models, "Model", ())))):
        return jobs
    from taskmaster.django_orm import RangeQuerySetWrapper

    return RangeQuerySetWrapper(jobs)


def refresh_connections() -> None:
    """Before and after a batch, and after a job that has failed."""
    if "django.db" in sys.modules:
        from taskmaster.django_orm.connections import refresh

        refresh()


def close_connections() -> None:
    """At the end of a thread that ran the user's code."""
    if "django.db" in sys.modules:
        from taskmaster.django_orm.connections import close

        close()


def close_before_fork() -> None:
    """In a process that is about to fork."""
    if "django.db" in sys.modules:
        from taskmaster.django_orm.connections import close_before_fork as close

        close()


def drop_after_fork() -> None:
    """In the child, before anything else of the user's."""
    if "django.db" in sys.modules:
        from taskmaster.django_orm.connections import drop_after_fork as drop

        drop()
