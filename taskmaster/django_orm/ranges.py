"""Key ranges of a queryset as jobs: the master reads nothing but borders, and the workers their
rows.

Called by the user's module; the master iterates, the workers get a ``QuerySetRange``. Any database
that Django knows will do. How ranges are drawn is in ``taskmaster.sources.key_ranges``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet
from django.db import connections

from taskmaster.django_orm.key import Key, readable
from taskmaster.django_orm.queries import ask, fetch
from taskmaster.errors import UsageError
from taskmaster.sources.key_ranges import RangeSource

__all__ = ["QuerySetRange", "QuerySetRanges"]


@dataclass(frozen=True)
class QuerySetRange:
    """The rows whose key is above ``lo`` and up to ``hi``.

    Attributes:
        lo: the key below the first row, None before the first row of all; a tuple, if the key has
            several fields.
        hi: the key of the last row.
        model: its label, ``"blog.Post"``.
        key: the names of the key's fields.
        using: the database, if the queryset or ``using`` named one; None: Django's routers say
            where its rows are read and where they are written, as with any queryset.
        label: what ``QuerySetRanges`` was given as such.
        query: the conditions of the queryset, if it had any.
        hints: what routers are told beside the model: of ``author.post_set.all()``, the author.

    Example::

        def handle_job(posts):
            posts.queryset().update(author_name=Subquery(...))
    """

    lo: Any
    hi: Any
    model: str
    key: tuple[str, ...]
    using: str | None
    label: Any = None
    query: Any = None
    hints: Any = field(default=None, compare=False)

    def queryset(self) -> Any:
        """The rows, as a queryset with the conditions of the one that was given to
        ``QuerySetRanges``.

        They have no order, so that the database need not sort them for the model's
        ``Meta.ordering``.
        """
        queryset = apps.get_model(self.model)._base_manager.all()
        if self.using is not None:
            queryset = queryset.using(self.using)
        if self.hints:
            queryset._add_hints(**self.hints)
        if self.query is not None:
            queryset.query = self.query.chain()
        return self._within(queryset).order_by()

    def filter(self, queryset: Any) -> Any:
        """Those rows of a queryset that are in this range; its own database and conditions stay.

        Args:
            queryset: of the same model; or a manager.
        """
        queryset = readable(queryset, "filter()", in_order=False)
        if queryset.model._meta.label != self.model:
            raise UsageError(
                f"The range is one of {self.model}, and the queryset has {queryset.model._meta.label}: give one of "
                f"{self.model}."
            )
        return self._within(queryset)

    def _within(self, queryset: Any) -> Any:
        key = Key(queryset.model, self.key, descending=False, unique=False, trusted=True)
        return _between(queryset, key, self.lo, self.hi)


class QuerySetRanges(RangeSource):
    """Key ranges of a queryset as jobs; the callback gets a ``QuerySetRange``.

    The last range ends at the highest key there is when the run is new. A range that fails twice is
    split, until the row is found that fails.

    Args:
        queryset: or a manager; neither sliced nor ordered. Its conditions go with each range:
            ``range.queryset()``.
        rows: of the first ranges.
        target: seconds that a range should take in a worker: the number of rows follows what was
            measured; None: it stays as it is.
        key: a field, or several, with which an index begins; never NULL. Rows need not have
            different ones.
        using: the database to read, if not that of the queryset.
        label: goes with each range, for the callback.
        trusted: do not ask the model whether the key is not NULL and indexed.
        patience: seconds for which a database that cannot be read is tried again before the run
            stops, to be resumed.

    Raises:
        UsageError: the queryset or the key is none that can be read in this way; says what to write
            instead.

    Example::

        get_jobs = QuerySetRanges(Post.objects.filter(author_name=""))
    """

    def __init__(
        self,
        queryset: Any,
        rows: int = 10_000,
        target: float | None = 1.0,
        *,
        key: str | Sequence[str] = "pk",
        using: str | None = None,
        label: Any = None,
        trusted: bool = False,
        patience: float = 3600.0,
    ) -> None:
        super().__init__(rows, target)
        queryset = readable(queryset, "QuerySetRanges")
        self._queryset = queryset.using(using) if using is not None else queryset
        self._key = Key(queryset.model, key, descending=False, unique=False, trusted=trusted)
        if self._key.descending:
            raise UsageError(f"key={key!r}: ranges are drawn from the lowest key to the highest. Leave out the -.")
        self._label = label
        self._patience = patience
        self._query = None if _is_whole(self._queryset) else self._queryset.query
        self._plain = self._queryset.prefetch_related(None)

    def __repr__(self) -> str:
        return f"ranges of {self._key}"

    # -- what the database says --------------------------------------------------------------------

    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        order = self._key.order(descending=descending)
        found = _between(self._plain, self._key, lo, hi).order_by(*order).values_list(*self._key.names)
        rows = fetch(found[count - 1 : count], self._patience)
        return self._key.joined(rows[0]) if rows else None

    def _count(self, lo: Any, hi: Any) -> int:
        found = _between(self._plain, self._key, lo, hi).order_by()
        return int(ask(found, lambda rows: rows.count(), self._patience))

    def _range(self, lo: Any, hi: Any) -> QuerySetRange:
        # Not the database from which it would be read now: a router may have one for reading and
        # another for writing.
        using = self._queryset._db
        hints = self._queryset._hints if using is None else None
        label = self._queryset.model._meta.label
        return QuerySetRange(lo, hi, label, self._key.names, using, self._label, self._query, hints or None)

    def _check_end(self, key: Any) -> None:
        self._key.checked(key, "the end of a range from which this run was to be resumed")

    def _reckons(self) -> bool:
        return self._key.number


def _between(queryset: Any, key: Key, lo: Any, hi: Any) -> Any:
    vendor = connections[queryset.db].vendor
    for sign, end in ((">", lo), ("<=", hi)):
        if end is not None:
            queryset = queryset.filter(key.compared(sign, end, vendor))
    return queryset


def _is_whole(queryset: Any) -> bool:
    """Whether it has every row of its model, and nothing but these; then ranges need no query with
    them.
    """
    whole = queryset.model._base_manager.using(queryset.db)
    try:
        return bool(str(queryset.query) == str(whole.query))
    except EmptyResultSet:
        return False
