"""The options about a Django project. Commands have them; ``Taskmaster`` has not, because a script
sets its project up itself before it imports its models.
"""

from __future__ import annotations

from taskmaster.options.option import Section, flag, text
from taskmaster.records import record

__all__ = ["ProjectOptions"]


@record(slots=False)
class ProjectOptions:
    """The Django project of the target."""

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
