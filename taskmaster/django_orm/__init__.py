"""Django: querysets as sources of jobs, key ranges of them, and what a project wants around its
work.

``RangeQuerySetWrapper`` and ``QuerySetRanges`` are for the user's module, on the master and on the
slaves; the other modules are called by Taskmaster itself where a project is used. Nothing here is
imported elsewhere, and nothing of it knows a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmaster.django_orm.ranges import QuerySetRange, QuerySetRanges
    from taskmaster.django_orm.rows import RangeQuerySetWrapper

__all__ = ["QuerySetRange", "QuerySetRanges", "RangeQuerySetWrapper"]


def __getattr__(name: str) -> Any:
    # A worker imports this package for its connections alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "rows" if name == "RangeQuerySetWrapper" else "ranges"
    return getattr(import_module(f"{__name__}.{place}"), name)
