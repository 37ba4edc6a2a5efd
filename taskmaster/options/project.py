"""The options about a Django project, which every command has and no script: a script has set its
project up before it imports its models.
"""

from __future__ import annotations

from taskmaster.options.option import Section, flag, text
from taskmaster.records import record

__all__ = ["ProjectOptions"]


@record(slots=False)
class ProjectOptions:
    """Which project the target belongs to."""

    django_settings: str | None = text(
        Section.TARGET,
        None,
        "PACKAGE.MODULE",
        "Settings of the Django project of TARGET; or set DJANGO_SETTINGS_MODULE.",
        commands_only="here, call django.setup() before the models are imported",
    )
    other_databases: bool = flag(
        Section.TARGET,
        "Let slaves use other Django databases, or settings, than the master.",
        commands_only="here, give --other-databases to the slaves that have others",
    )
