"""The settings and databases of this process, and whether another process has the same.

A new process that imports the callback loads the settings again. If the run was started in a test,
whose database has another name, the new process would write to the real database.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import UserSettingsHolder, settings
from django.db import connections
from django.utils import timezone, translation

from taskmaster.redaction import without_password
from taskmaster.runtime.log import clean_logger

__all__ = ["changed_settings", "difference", "facts", "with_activated"]

logger = clean_logger(__name__)

SettingsFacts = dict[str, Any]
"""A dict of plain values: ``settings``, the name of the settings module, and ``databases``, a
description of the database for each alias.
"""

CONFIGURED = "settings.configure()"
DUMMY = "django.db.backends.dummy"
SERVER_OPTIONS = ("service", "host", "port", "dbname", "database", "db", "unix_socket", "read_default_file", "options",
                  "init_command", "assume_role")  # fmt: skip
"""Options of a database that may lead to another server or to other rows."""


def facts() -> SettingsFacts | None:
    """Return the settings and databases of this process; None if Django has no usable settings."""
    if not settings.configured:
        return None
    try:
        named = dict(connections.settings)
        named.update({one.alias: one.settings_dict for one in connections.all(initialized_only=True)})
    except Exception:  # wrong settings: the first use of a connection raises the same
        logger.debug("Django's databases cannot be listed", exc_info=True)
        return None
    found = {alias: _described(one) for alias, one in sorted(named.items()) if one["ENGINE"] != DUMMY}
    return {"settings": _module() or CONFIGURED, "databases": found}


def difference(there: SettingsFacts, here: SettingsFacts, *, theirs: str, ours: str) -> str:
    """Return the first difference between two processes, as a sentence; "" if there is none.

    Args:
        there: the facts of another process.
        here: the facts of this process.
        theirs: what the sentence calls the other process.
        ours: what the sentence calls this process.
    """
    known, own = there.get("databases") or {}, here["databases"]
    for alias in sorted({*known, *own}):
        if known.get(alias) != own.get(alias):
            return (
                f"The database {alias!r} is {own.get(alias, 'not there')} in {ours}, and "
                f"{known.get(alias, 'not there')} in {theirs}: workers would work on other rows than those that were "
                "read."
            )
    if there.get("settings") != here["settings"]:
        return f"Django's settings are {here['settings']} in {ours}, and {there.get('settings')} in {theirs}."
    return ""


def changed_settings() -> str:
    """Return how the settings of this process differ from those that a new process would load, as
    the rest of a sentence that begins with "Django's settings"; "" if they do not.
    """
    if not settings.configured:
        return ""
    if isinstance(settings._wrapped, UserSettingsHolder):
        return "were changed by override_settings()" if _module() else f"come from {CONFIGURED}"
    test = sys.modules.get("django.test.utils")
    if test is not None and hasattr(test._TestState, "saved_data"):
        return "are those of a test"
    name = _module()
    if os.environ.get("DJANGO_SETTINGS_MODULE") != name:
        return f"are {name}, which DJANGO_SETTINGS_MODULE does not say"
    module, held = sys.modules.get(name), vars(settings._wrapped)
    for one in filter(str.isupper, dir(module)):
        given = getattr(module, one)
        if held.get(one) is not given and held.get(one) != given:
            return f"were changed by an assignment to settings.{one}"
    return _activated()


def with_activated(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function for another thread that activates this thread's time zone and language, and
    then calls ``call``.
    """
    zone, language = timezone.get_current_timezone(), translation.get_language()

    def activating() -> None:
        if zone != timezone.get_default_timezone():
            timezone.activate(zone)
        if language is None:
            translation.deactivate_all()
        elif language != settings.LANGUAGE_CODE:
            translation.activate(language)
        call()

    return activating


def _activated() -> str:
    """Return which time zone or language this thread has instead of that of the settings, as the
    rest of such a sentence; "" if neither.
    """
    if (zone := timezone.get_current_timezone_name()) != timezone.get_default_timezone_name():
        return f"are overridden by the time zone {zone} (timezone.activate() or timezone.override())"
    if (language := translation.get_language()) != settings.LANGUAGE_CODE:
        return f"are overridden by the language {language} (translation.activate() or translation.override())"
    return ""


def _module() -> str:
    """Return the name of the settings module; "" if settings.configure() was called instead."""
    held: Any = settings._wrapped
    while isinstance(held, UserSettingsHolder):
        held = held.default_settings
    return str(getattr(held, "SETTINGS_MODULE", None) or "")


def _described(found: dict[str, Any]) -> str:
    """Return a description of a database, without a password."""
    engine = str(found["ENGINE"]).removeprefix("django.db.backends.")
    name, host, port = (str(found.get(one) or "") for one in ("NAME", "HOST", "PORT"))
    options = {one: value for one, value in (found.get("OPTIONS") or {}).items() if one in SERVER_OPTIONS and value}
    if engine in ("postgresql", "postgis"):
        # libpq takes from the environment what the settings do not have.
        name, host, port = (
            said or os.environ.get(variable, "")
            for said, variable in ((name, "PGDATABASE"), (host, "PGHOST"), (port, "PGPORT"))
        )
        if service := os.environ.get("PGSERVICE"):
            options.setdefault("service", service)
    if engine.endswith(("sqlite3", "spatialite")) and "memory" not in name:
        name = str(Path(name).absolute())
    server = f"at {host}{f':{port}' if port else ''}" if host or port else ""
    return without_password(
        " ".join(filter(None, [f"{engine} {name}", server, *(f"{one}={options[one]}" for one in options)]))
    )
