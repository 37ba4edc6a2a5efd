"""A check that a replica, which Django's routers choose for reading, has the primary's rows.

A replica that lags lacks the newest rows: its last page would come too early, and the rows after it
would be left out. The run waits for it, as for a database that cannot be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections, router

from taskmaster.django_orm.key import Key, ReadableQuerySet
from taskmaster.django_orm.readable import without_conditions
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_retry import passes

__all__ = ["Behind", "Replicas"]

logger = clean_logger(__name__)


class Behind(Exception):
    """A replica does not have the newest row of the primary yet."""


class Replicas:
    """The databases from which a queryset may be read, and which of them have caught up.

    Args:
        queryset: the queryset.
        key: its key. If keys grow, the newest row has the highest one.
    """

    def __init__(self, queryset: ReadableQuerySet, key: Key) -> None:
        self._routed = queryset._db is None and bool(router.routers)
        self._rows = without_conditions(queryset)
        self._key = key
        self._caught_up: set[str] = set()
        self._newest: Any = None  # highest key of the primary; None until it was asked

    def check(self, alias: str) -> None:
        """Check that a database has a row with the highest key that the primary had at the first
        check, or a higher one. A database that has passed is not asked again.

        Raises:
            Behind: it has no such row yet.
        """
        if not self._routed or alias in self._caught_up:
            return
        primary = self._primary()
        if primary is not None and primary != alias:
            if self._newest is None:
                self._newest = self._highest(primary)
            if not self._has_newest(alias):
                self._newest = self._highest(primary)  # that row may have been deleted
                if not self._has_newest(alias):
                    raise Behind(
                        f"the database {alias!r}, from which routers read, does not have the row {self._newest!r} of "
                        f"{primary!r} yet, to which they write. If it is no replica of that one, name the database to "
                        "read: .using(...)"
                    )
        self._caught_up.add(alias)

    def _primary(self) -> str | None:
        """Return the database to which routers write; None if it cannot be queried."""
        try:
            alias = str(router.db_for_write(self._rows.model, **self._rows._hints))
            self._highest(alias)
        except Exception as exc:
            if passes(exc):
                raise
            logger.debug("the database to which routers write cannot be compared", exc_info=True)
            return None
        return alias

    def _has_newest(self, alias: str) -> bool:
        if self._newest is None:
            return True
        vendor = connections[alias].vendor
        found = self._rows.using(alias).filter(self._key.compared(">=", self._newest, vendor))
        return bool(list(found.order_by().values_list(*self._key.names)[:1]))

    def _highest(self, alias: str) -> Any:
        order: Sequence[str] = self._key.order(descending=True)
        found = list(self._rows.using(alias).order_by(*order).values_list(*self._key.names)[:1])
        return self._key.joined(found[0]) if found else None
