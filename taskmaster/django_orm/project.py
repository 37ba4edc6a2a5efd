"""Sets up a Django project before the user's code is imported, and explains errors about it.

Used through ``taskmaster.django_orm.integration``: in each process that imports a target while
``--django-settings`` or ``DJANGO_SETTINGS_MODULE`` names the project's settings, and after the
user's code has raised an error.
"""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from types import TracebackType

from taskmaster.errors import TargetError
from taskmaster.runtime.tracebacks import one_line, users_traceback
from taskmaster.sources.database_errors import said
from taskmaster.sources.database_retry import sqlstate

__all__ = ["explain", "lacking", "set_up"]

SETTINGS_OPTION = "--django-settings, or DJANGO_SETTINGS_MODULE"
# Codes of PostgreSQL and MySQL for a missing table or column; the texts of SQLite.
MISSING_CODES = {"42P01", "42703", 1146, 1054}
SQLITE_MISSING = ("no such table", "no such column")


def set_up(settings: str) -> None:
    """Load the settings and the project's models, once.

    Args:
        settings: the dotted name of the settings module.

    Raises:
        TargetError: Django is not installed, the module is not found, or one of them raised.
    """
    try:
        import django
        from django.apps import apps
    except ModuleNotFoundError as exc:
        if exc.name != "django":
            raise
        raise TargetError(
            f"Django's settings are {settings} ({SETTINGS_OPTION}), and Django is not "
            f"installed for {sys.executable}. Install Taskmaster where the project is, or leave the settings out."
        ) from None
    if apps.ready:
        return
    try:
        django.setup(set_prefix=False)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        missing = exc.name if isinstance(exc, ModuleNotFoundError) and exc.name else "?"
        if settings == missing or settings.startswith(f"{missing}."):
            raise TargetError(_no_settings(settings, missing)) from None
        # A traceback without a line of the project would add nothing to the message.
        theirs = next((trace for trace in _traces(exc) if not _is_machinery(trace)), None)
        because = f" ({one_line(exc.__cause__)})" if exc.__cause__ is not None else ""
        raise TargetError(
            f"The Django project with the settings {settings} ({SETTINGS_OPTION}) cannot be set up: django.setup() "
            f"raised {one_line(exc)}{because}",
            user_traceback=None if theirs is None else users_traceback(exc, theirs),
        ) from exc
    _keep_our_logging()


def explain(exc: BaseException) -> str:
    """Return a sentence, after a space, about what the project lacks, if that is why the user's
    code raised an error; "" if the error has another cause.

    Args:
        exc: the error of the import of a target, or of a source of the user's.
    """
    from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured

    name = f"--django-settings={next(iter(_known_settings()), 'PACKAGE.settings')}"
    if isinstance(exc, ImproperlyConfigured) and "DJANGO_SETTINGS_MODULE" in str(exc):
        return (
            f" It uses Django, whose settings are not known: name them with {name}, or with DJANGO_SETTINGS_MODULE in "
            "the environment."
        )
    if isinstance(exc, AppRegistryNotReady):
        return (
            " It uses models of Django's before the project is set up: leave that to Taskmaster, which is told the "
            f"settings with {name}, or with DJANGO_SETTINGS_MODULE in the environment; or call django.setup() first."
        )
    # An error in the user's own SQL is explained best by its traceback.
    of_models = any(_module_of(trace) == "django.db.models.sql.compiler" for trace in _traces(exc))
    return f" {why}" if of_models and (why := lacking(exc)) else ""


def lacking(exc: BaseException, alias: str = "") -> str:
    """Return a sentence about a table or a column of a model that is missing, by the error of a
    query; "" for any other error.

    Args:
        exc: the error.
        alias: the alias of the database; "" if unknown.
    """
    from django.apps import apps

    code = sqlstate(exc) or next(iter(getattr(exc.__cause__, "args", ())), None)
    if not (code in MISSING_CODES or str(code).startswith(SQLITE_MISSING)):
        return ""
    # A name that no model has is a mistake in the user's own SQL, such as that of extra().
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    if tables.isdisjoint(re.findall(r"[\w$-]+", str(exc).partition("\n")[0])):
        return ""
    which = f"The database {alias!r}" if alias else "The database"
    where = f" --database={alias}" if alias not in ("", "default") else ""
    return (
        f"{which} lacks what the models have: {said(exc.__cause__ or exc)}. Apply the project's migrations to it with "
        f"`python manage.py migrate{where}`, and run this again."
    )


def _no_settings(settings: str, missing: str) -> str:
    known = _known_settings()
    import difflib

    close = difflib.get_close_matches(settings, known, 1) or known[:1]
    return (
        f"There is no module {missing!r}, so that the Django settings {settings} (of --django-settings, or of "
        f"DJANGO_SETTINGS_MODULE) cannot be loaded: it is neither in {Path.cwd()} nor among the installed ones."
        f"{f' Did you mean {close[0]}?' if close else ''} Run the command where manage.py is."
    )


def _known_settings() -> list[str]:
    """Return the modules below the working directory whose names begin with ``settings``."""
    here = Path.cwd()
    return sorted(".".join(path.relative_to(here).with_suffix("").parts) for path in here.glob("*/settings*.py"))


def _traces(exc: BaseException) -> list[TracebackType]:
    """Return the traceback entries of an error, the one that raised it last."""
    found = []
    trace = exc.__traceback__
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


def _module_of(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__"))


def _is_machinery(trace: TracebackType) -> bool:
    """Return whether a traceback entry is in Django, in Taskmaster, or in a module that Django
    calls with the settings.
    """
    return _module_of(trace).partition(".")[0] in ("django", "importlib", "logging", "taskmaster")


def _keep_our_logging() -> None:
    """Enable Taskmaster's loggers again: a project's LOGGING disables all existing loggers, unless
    it has ``disable_existing_loggers: False``.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "taskmaster" and isinstance(logger, logging.Logger):
            logger.disabled = False
