"""A Django project, set up before any of the user's code is imported.

Called by ``taskmaster.target`` through ``taskmaster.django_hooks``, in each process that imports a target, when
``--django-settings`` or ``DJANGO_SETTINGS_MODULE`` names the project's settings.
"""

from __future__ import annotations

import difflib
import logging
import sys
from pathlib import Path

from taskmaster.errors import TargetError
from taskmaster.tracebacks import users_traceback

__all__ = ["set_up"]


def set_up(settings: str) -> None:
    """Load the settings and the project's models, once.

    Args:
        settings: the dotted name of the module; the working directory can be imported from.

    Raises:
        TargetError: Django is not there, the module is not, or one of them raised.
    """
    try:
        import django
        from django.apps import apps
    except ModuleNotFoundError as exc:
        if exc.name != "django":
            raise
        raise TargetError(
            f"Django's settings are {settings} (--django-settings, or DJANGO_SETTINGS_MODULE), and Django is not "
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
        raise TargetError(
            f"The Django project with the settings {settings} cannot be set up: django.setup() raised "
            f"{type(exc).__name__}.",
            user_traceback=users_traceback(exc),
        ) from exc
    _keep_our_logging()


def _no_settings(settings: str, missing: str) -> str:
    here = Path.cwd()
    known = [".".join(path.relative_to(here).with_suffix("").parts) for path in here.glob("*/settings*.py")]
    close = difflib.get_close_matches(settings, known, 1) or known[:1]
    return (
        f"There is no module {missing!r}, so that the Django settings {settings} (of --django-settings, or of "
        f"DJANGO_SETTINGS_MODULE) cannot be loaded: it is neither in {here} nor among the installed ones."
        f"{f' Did you mean {close[0]}?' if close else ''} Run the command where manage.py is."
    )


def _keep_our_logging() -> None:
    """A project's LOGGING switches off, unless it says otherwise, all loggers that there are, Taskmaster's too."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "taskmaster" and isinstance(logger, logging.Logger):
            logger.disabled = False
