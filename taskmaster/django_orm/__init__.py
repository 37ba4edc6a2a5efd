"""Django: querysets as sources of jobs, as rows or as key ranges, and the management of a project's
connections.

- ``rows``, ``ranges``: the sources, for the user's module.
- ``readable``, ``key``, ``key_columns``, ``key_operators``, ``key_spelling``, ``row_security``,
  ``row_keys``, ``repeated_rows``, ``queryset_form``, ``description``: which querysets can be read,
  in the order of which key, and how a queryset is described and sent to workers.
- ``queries``, ``replicas``: a query that is repeated after errors that pass, and a check that a
  replica has caught up.
- ``integration``: the functions that the rest of Taskmaster may import, with or without Django.
- ``project``: loads the settings. ``databases``, ``model_hooks``: compare settings, databases and
  signal receivers of two processes. ``start_check``: refuses a start inside a transaction and the
  like. ``connections``: closes and resets connections. ``undone``: finds rolled-back blocks.

Only ``integration`` is imported from other rooms; nothing here imports a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmaster.django_orm.ranges import QuerySetRange, QuerySetRanges
    from taskmaster.django_orm.rows import RangeQuerySetWrapper

__all__ = ["QuerySetRange", "QuerySetRanges", "RangeQuerySetWrapper"]


def __getattr__(name: str) -> Any:
    # Lazily: most workers need the integration, and no source.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "rows" if name == "RangeQuerySetWrapper" else "ranges"
    return getattr(import_module(f"{__name__}.{module}"), name)
