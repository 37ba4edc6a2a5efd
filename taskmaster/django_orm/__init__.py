"""Django: querysets as sources of jobs, key ranges of them, and the care of a project's
connections.

- ``rows``, ``ranges``: the sources, for the user's module.
- ``readable``, ``key``, ``key_columns``, ``key_operators``, ``key_spelling``, ``row_security``,
  ``row_keys``, ``repeated_rows``, ``queryset_form``, ``description``: which querysets can be read,
  along which key, and what they are.
- ``queries``, ``replicas``: one question to a database, asked again where that helps, and whether
  one that routers choose for reading has what was written.
- ``integration``: what the rest of Taskmaster may import, also where Django is not installed.
- ``project``, ``databases``, ``model_hooks``, ``start_check``, ``connections``, ``undone``: the
  settings, whose databases are used, what is done beside a save, what must not be where a run
  starts, what is closed when, and what a job's transactions must not come to.

Only ``integration`` is imported from other rooms; nothing here knows a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmaster.django_orm.ranges import QuerySetRange, QuerySetRanges
    from taskmaster.django_orm.rows import RangeQuerySetWrapper

__all__ = ["QuerySetRange", "QuerySetRanges", "RangeQuerySetWrapper"]


def __getattr__(name: str) -> Any:
    # Lazily: a worker that only has its connections looked after needs no source.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "rows" if name == "RangeQuerySetWrapper" else "ranges"
    return getattr(import_module(f"{__name__}.{place}"), name)
