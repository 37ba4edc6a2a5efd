"""Key ranges of a queryset as jobs: the master reads only the keys at which ranges end, and each
worker reads the rows of its range.

For the user's module, and for any database that Django supports: the master iterates, and the
callback gets a ``QuerySetRange``. ``taskmaster.sources.key_ranges`` cuts the ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import connections

from taskmaster.django_orm.description import describe
from taskmaster.django_orm.key import Key
from taskmaster.django_orm.key_spelling import check_spelling
from taskmaster.django_orm.queries import ask
from taskmaster.django_orm.queryset_form import Form, form_of, with_form
from taskmaster.django_orm.readable import (
    as_objects,
    in_key_order,
    is_whole,
    readable,
    refuse_partial_groups,
    without_conditions,
)
from taskmaster.django_orm.replicas import Replicas
from taskmaster.django_orm.row_security import check_order
from taskmaster.errors import SourceError, UsageError
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_retry import TooSlow
from taskmaster.sources.key_ranges import RangeSource
from taskmaster.units import show_count

__all__ = ["QuerySetRange", "QuerySetRanges"]

logger = clean_logger(__name__)

RANGES_NAME = "QuerySetRanges"


@dataclass(frozen=True)
class QuerySetRange:
    """The rows whose key is above ``lo`` and up to ``hi``.

    Attributes:
        lo: the key after which the range begins; None for the beginning of the table; a tuple, if
            the key has several fields.
        hi: the highest key of the range, in the same form.
        model: the label of the model, ``"blog.Post"``.
        key: the names of the key's fields.
        using: the alias of the database, if the queryset or ``using`` named one; None: Django's
            routers choose the databases for reading and writing, as with any queryset.
        label: the label that ``QuerySetRanges`` was given.
        query: the query of the queryset, if it had conditions.
        hints: the hints for routers: for ``author.post_set.all()``, the author.
        form: the class of the queryset and the kind of its rows, if these are not Django's class
            and objects.

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
    form: Form | None = None

    def queryset(self) -> Any:
        """Return the rows as a queryset of the class that ``QuerySetRanges`` was given, with its
        conditions.

        It has no order: the database need not sort the rows by the model's ``Meta.ordering``.
        """
        model = apps.get_model(self.model)
        query = model._base_manager.all().query if self.query is None else self.query
        return self._within(with_form(self.form, model, query, self.using, self.hints)).order_by()

    def filter(self, queryset: Any) -> Any:
        """Return the rows of another queryset that are in this range; its own database, class and
        conditions are kept.

        Args:
            queryset: a queryset or a manager of the same model.
        """
        queryset = readable(queryset, "filter()")
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

    The last range ends at the highest key that there is when the run begins. A range that fails
    twice is split, until the failing row is found.

    Args:
        queryset: a queryset or a manager, neither sliced nor ordered. Its class and its conditions
            are sent with each range: ``range.queryset()``.
        rows: how many rows the first ranges have.
        target: seconds that a range should take in a worker: later ranges get more or fewer rows,
            by what was measured; None: all have ``rows`` rows.
        key: a field, or several, with which an index begins; never NULL. It need not be unique.
        using: the alias of the database to read, if not that of the queryset.
        label: any value that goes with each range to the callback.
        trusted: whether to skip the check that the model's key is not NULL and indexed.
        patience: seconds for which a database that cannot be read is tried again before the run
            stops, to be resumed.

    Raises:
        UsageError: the queryset or the key cannot be read in this way; the message says what to
            write instead.

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
        queryset = readable(queryset, RANGES_NAME)
        queryset = queryset.using(using) if using is not None else queryset
        self._key = Key(queryset.model, key, descending=False, unique=False, trusted=trusted)
        if self._key.descending:
            raise UsageError(f"key={key!r}: ranges are drawn from the lowest key to the highest. Leave out the -.")
        self._queryset, down = in_key_order(queryset, RANGES_NAME, key)
        if down:
            raise UsageError(
                "The queryset begins with the highest key, and ranges are drawn from the lowest to the highest: take "
                "its order, or reverse(), off."
            )
        refuse_partial_groups(self._queryset, RANGES_NAME, self._key)
        self._label = label
        self._patience = patience
        self._form = form_of(self._queryset)
        self._query = None if is_whole(self._queryset) else self._queryset.query
        self._replicas = Replicas(self._queryset, self._key)
        self._plain = as_objects(self._queryset)  # the queryset in which borders are searched
        self._all_rows = self._query is None

    def __repr__(self) -> str:
        return f"ranges of {self._key}"

    def identity(self) -> str:
        """Return the description of what is read, by which a state is matched to its run."""
        # Retried like a query: Django asks some databases for their version for this.
        return ask(self._queryset, lambda _: describe(self._queryset, self._key), self._patience)

    def bounds(self, bound: Any) -> Any:
        """Decide which rows belong to the run; see ``BoundedSource.bounds``."""
        check_order(self._queryset, self._key, self._patience, ranges=True)
        return super().bounds(bound)

    # -- what the database says --------------------------------------------------------------------

    def _border(self, lo: Any, hi: Any, count: int, *, descending: bool = False) -> Any:
        order = self._key.order(descending=descending)

        def found(rows: Any) -> list[Any]:
            rows = _between(rows, self._key, lo, hi).order_by(*order).values_list(*self._key.names)
            one = rows[count - 1 : count]
            return [one, *one]

        asked, *rows = self._ask(found)
        border = self._key.joined(rows[0]) if rows else None
        if border is not None and lo is not None and border == lo:
            raise SourceError(
                f"The key {show_count(count, 'row')} after {lo!r} is the same key: the database compares another "
                "value than it returns, because it rounds numbers or has another spelling. Name another key for the "
                "ranges."
            )
        if border is not None:
            vendor = connections[asked.db].vendor
            check_spelling(self._key, border, asked, self._patience, vendor=vendor, sign="<=")
        return border

    def _count(self, lo: Any, hi: Any) -> int:
        return int(self._ask(lambda rows: _between(rows, self._key, lo, hi).order_by().count()))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Return the result of a query over the queryset's rows. If so few rows fit its conditions
        that the query takes too long, search all rows of the model from now on: some ranges will
        then be empty.
        """
        try:
            return ask(self._plain, question, self._patience, may_be_slow=self._all_rows, check=self._replicas.check)
        except TooSlow as exc:
            logger.warning(
                "few rows of %s fit the condition of the queryset, and the next one was not found in time (%s): ranges "
                "are made of all rows, and some will be empty",
                self,
                exc,
            )
            self._plain, self._all_rows = without_conditions(self._queryset), True
            return self._ask(question)

    def _range(self, lo: Any, hi: Any) -> QuerySetRange:
        # Not queryset.db, which is the database for reading: a router may choose another one for
        # writing.
        using = self._queryset._db
        hints = self._queryset._hints if using is None else None
        label = self._queryset.model._meta.label
        return QuerySetRange(lo, hi, label, self._key.names, using, self._label, self._query, hints or None, self._form)

    def _reads_all(self) -> bool:
        return self._query is None

    def _check_end(self, key: Any) -> None:
        self._key.checked(key, "the end of a range from which this run was to be resumed")

    def _names_in_sql(self) -> tuple[str, str] | None:
        return self._key.names_in_sql(self._queryset.db)

    def _reckons(self) -> bool:
        return self._key.number


def _between(queryset: Any, key: Key, lo: Any, hi: Any) -> Any:
    vendor = connections[queryset.db].vendor
    for sign, end in ((">", lo), ("<=", hi)):
        if end is not None:
            queryset = queryset.filter(key.compared(sign, end, vendor))
    return queryset
