"""The rows of a queryset, read in pages in the order of a key (keyset pagination).

For the user's module, in a loop of ``get_jobs`` or as the source itself;
``taskmaster.django_orm.integration`` makes such a source of a queryset. Each page is a query that
begins after the last key; an index answers it without reading the rows before. At most two pages
are in memory, of about 8 MB each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import Any

from django.db import connections, reset_queries
from django.db.models import Model, QuerySet

from taskmaster.django_orm.description import describe
from taskmaster.django_orm.key import Key
from taskmaster.django_orm.key_spelling import check_spelling
from taskmaster.django_orm.queries import ask, borrowed, fetch, planned
from taskmaster.django_orm.readable import (
    as_objects,
    in_key_order,
    is_whole,
    readable,
    refuse_partial_groups,
    without_conditions,
)
from taskmaster.django_orm.repeated_rows import alike, is_kept_unique, may_differ, may_repeat
from taskmaster.django_orm.replicas import Replicas
from taskmaster.django_orm.row_keys import parts_of
from taskmaster.django_orm.row_security import check_order
from taskmaster.errors import SourceError, UsageError
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_retry import TooSlow
from taskmaster.sources.keyset_rows import FIRST_PAGE_ROWS, PAGE_BYTES, SAMPLED_ROWS, KeysetSource, RowsPage
from taskmaster.units import show_count

__all__ = ["RangeQuerySetWrapper"]

logger = clean_logger(__name__)

ROWS_NAME = "RangeQuerySetWrapper"
NOT_GIVEN: Any = object()
LARGEST_PAGE_BYTES = 24 * PAGE_BYTES  # largest page of all rows with one key: about 300,000 small rows
LONGER = 4  # a page that does not have all rows of its key is asked for again with this many times the rows


class RangeQuerySetWrapper(KeysetSource):
    """Iterates a queryset of any size in pages along a key; also a source that resumes at its key.

    Args:
        queryset: a queryset or a manager; not sliced, and in no other order than that of the key.
            ``filter``, ``select_related``, ``prefetch_related``, ``only``, ``annotate`` and
            ``using`` are kept, and so are ``values`` and ``values_list`` with the key in them.
        step: most rows of a page; a negative number means ``descending``. Pages of wide rows have
            fewer, and so has the first page.
        min_id: the lowest key to read, inclusive; a tuple if the key has several fields; None: no
            lower end. In descending order reading ends there, and ``max_id`` has to be given, too.
        max_id: the highest key to read, inclusive; None: no upper end.
        key: a field, or several, that are unique and never NULL, and with which an index begins;
            with a ``-`` before each, descending.
        order_by: another name for ``key``.
        descending: whether to read from the highest key to the lowest, as with ``order_by("-pk")``.
            A loop goes on with ``max_id=last``.
        using: the alias of the database to read, if not that of the queryset.
        trusted: whether to skip the check that the model's key is unique, not NULL, and indexed.
        patience: seconds for which a database that cannot be read is tried again before an error is
            raised.

    Raises:
        UsageError: the queryset or the key cannot be read in this way; the message says what to
            write instead.

    Example::

        def get_jobs(last=None):
            for post in RangeQuerySetWrapper(Post.objects.all(), min_id=last):
                yield post
    """

    def __init__(  # noqa: PLR0913  # the options of a loop over a table, each by its name
        self,
        queryset: Any,
        step: int = 1000,
        min_id: Any = NOT_GIVEN,
        max_id: Any = NOT_GIVEN,
        *,
        key: str | Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        descending: bool = False,
        using: str | None = None,
        trusted: bool = False,
        patience: float = 3600.0,
    ) -> None:
        if step == 0 or not isinstance(step, int):
            raise UsageError(
                f"step={step!r}: give a whole number of rows, not 0; a negative one means descending order."
            )
        if key is not None and order_by is not None:
            raise UsageError("key and order_by mean the same: give one of them.")
        queryset = readable(queryset, ROWS_NAME)
        queryset = queryset.using(using) if using is not None else queryset
        wanted = next((one for one in (key, order_by) if one is not None), "pk")
        self._queryset, down = in_key_order(queryset, ROWS_NAME, wanted)
        self._key = Key(queryset.model, wanted, descending=descending or step < 0 or down, unique=True, trusted=trusted)
        super().__init__(abs(step), descending=self._key.descending)
        if self._key.descending and min_id is not NOT_GIVEN and max_id in (NOT_GIVEN, None):
            raise UsageError(
                f"min_id={min_id!r} without max_id: in descending order reading begins with the highest key and ends "
                "at min_id, so that a resumed run would begin anew and leave out the rest. Go on with max_id=last; "
                "what is never to be read is left out by .filter(pk__gte=...)."
            )
        self._low, self._high = (
            None if end is NOT_GIVEN or end is None else self._key.checked(end, name)
            for end, name in ((min_id, "min_id"), (max_id, "max_id"))
        )
        refuse_partial_groups(self._queryset, ROWS_NAME, self._key)
        self._patience = patience
        self._replicas = Replicas(self._queryset, self._key)
        self._parts = parts_of(self._queryset, self._key)
        self._may_repeat = trusted or may_repeat(self._queryset)
        self._may_differ = trusted or may_differ(self._queryset)
        self._conditioned = not is_whole(self._queryset)
        self._check_database = cache(partial(check_order, self._queryset, self._key, patience, ranges=False))
        self._by_stretches = False  # whether each query is limited to a stretch of the keys
        self._fitting = FIRST_PAGE_ROWS  # most rows of a page, by their size

    def __repr__(self) -> str:
        return f"rows of {self._key}"

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in the order of their keys, with those that are added meanwhile above the
        last key that was read.
        """
        return self._rows(None)

    # -- what the master calls, if this is a source ------------------------------------------------

    def iterate(self, last: Any) -> Iterator[Any]:
        """Return the rows after a key; all of them for None."""
        after = None if last is None else self._key.checked(last, "the key from which this run was to be resumed")
        if not self._fixed:
            self.bounds(None)
        return self._rows(after, read_by_master=True) if self._ends is not None else iter(())

    def total(self) -> int | None:
        """Return about how many rows there are. A thread of its own calls this."""
        with borrowed():
            return planned(self._bounded(as_objects(self._queryset)))

    def job_key(self, job: Any) -> Any:
        """Return the key of a row."""
        return self._key.joined(self._parts(job))

    def identity(self) -> str:
        """Return the description of what is read, by which a state is matched to its run."""
        # Retried like a query: Django asks some databases for their version for this.
        read = self._bounded(self._queryset, own_ends=False)
        return ask(read, lambda _: describe(read, self._key), self._patience)

    # -- what the database says --------------------------------------------------------------------

    def _end(self, *, descending: bool) -> Any:
        self._check_database()
        return self._key_at(self._key.order(descending=descending), None)

    def _is_below_another(self, key: Any) -> bool:
        return self._key_at(self._key.order(descending=False), self._key.compared(">", key, self._vendor)) is not None

    def _key_at(self, order: Sequence[str], condition: Any) -> Any:
        """Return the first key in an order, of the rows that fit a condition; None if none does."""

        def ends(rows: Any) -> Any:
            rows = self._bounded(rows, own_ends=False)
            rows = rows if condition is None else rows.filter(condition)
            return rows.order_by(*order).values_list(*self._key.names)[:1]

        rows, check = ends(as_objects(self._queryset)), self._replicas.check
        try:
            found = fetch(rows, self._patience, may_be_slow=not self._conditioned, check=check)
        except TooSlow:
            # Few rows fit the condition of the queryset: the end of all rows serves as well.
            rows = ends(without_conditions(self._queryset))
            found = fetch(rows, self._patience, check=check)
        if not found:
            return None
        key = self._key.joined(found[0])
        check_spelling(self._key, key, rows, self._patience, vendor=self._vendor)
        return key

    def _reads_all(self) -> bool:
        return not self._conditioned

    def _check_end(self, key: Any) -> None:
        self._key.checked(key, "the key at which this run was to end")

    def _names_in_sql(self) -> tuple[str, str] | None:
        return self._key.names_in_sql(self._queryset.db)

    def _reckons(self) -> bool:
        return self._key.number

    def _page(self, after: Any, rows: int, *, within: int) -> RowsPage:
        until = self._border(after, within) if self._by_stretches else None
        # One row more tells whether rows with the page's last key follow.
        wanted = rows + self._may_repeat
        least = within == 1 and (self._by_stretches or not self._conditioned)
        query = self._query(after, wanted, until)
        found = fetch(query, self._patience, may_be_slow=least, check=self._replicas.check)
        full = len(found) == wanted
        if not found:
            return RowsPage([], until, last=until is None)
        given = self._told_apart(found)
        if len(found) > rows and self.job_key(found[-1]) != self.job_key(found[-2]):
            given.pop()  # it is read again with the next page
        elif len(found) > rows and self._may_differ:
            # More rows with the last key follow, and all of them have to be compared.
            if len(given) == 1:
                return self._longer_page(after, rows, found, within=within)
            given.pop()
        end = self.job_key(given[-1])
        if after is not None and end == after:
            raise SourceError(
                f"The rows after the key {after!r}, {rows} of them, end with the same key: the database "
                "compares another value than it returns, because it rounds numbers or has another spelling. Read along "
                "another key."
            )
        check_spelling(self._key, end, query, self._patience, vendor=self._vendor)
        self._fitting = max(1, PAGE_BYTES // bytes_of_a_row(found))
        return RowsPage(given, end if full or until is None else until, last=not full and until is None)

    def _longer_page(self, after: Any, rows: int, found: Sequence[Any], *, within: int) -> RowsPage:
        """Return a longer page, which has all rows of its only key.

        Raises:
            SourceError: there are too many for the memory.
        """
        if rows * bytes_of_a_row(found) > LARGEST_PAGE_BYTES:
            many = show_count(rows, "row")
            raise SourceError(
                f"The queryset has more than {many} with the key {self.job_key(found[0])!r}, because "
                "it joins rows of another table, or because the key is not unique: too many to see here whether they "
                "differ. Add .distinct(), which leaves out rows that are the same; or begin with the other model."
            )
        return self._page(after, LONGER * rows, within=within)

    def _most_rows(self) -> int:
        return self._fitting

    def _was_too_slow(self, rows: int, within: int) -> int:
        # If few rows fit the condition, the server may read any number of others between two of
        # them: fewer rows in a page would not help, a stretch of the keys does.
        self._by_stretches = self._conditioned
        return within if self._by_stretches else rows

    # -- inside ------------------------------------------------------------------------------------

    @cached_property
    def _vendor(self) -> str:
        """The kind of database, as Django names it; routers may choose among several of a kind."""
        return str(connections[self._queryset.db].vendor)

    def _bounded(self, queryset: Any, *, own_ends: bool = True) -> Any:
        """Return a queryset limited by ``min_id`` and ``max_id`` and, with ``own_ends``, by the end
        of the run.
        """
        low, high = self._ends if self._ends is not None and own_ends else (None, None)
        down = self._descending
        for sign, end in ((">=", self._low), ("<=", self._high), (">=" if down else "<=", low if down else high)):
            if end is not None:
                queryset = queryset.filter(self._key.compared(sign, end, self._vendor))
        return queryset

    def _query(self, after: Any, count: int, until: Any = None) -> Any:
        """Return the query of a page."""
        return self._after(self._queryset, after, until).order_by(*self._key.order())[:count]

    def _after(self, queryset: Any, after: Any, until: Any = None) -> Any:
        """Return a queryset limited to the rows after one key and up to another."""
        queryset = self._bounded(queryset)
        for sign, end in (("<" if self._descending else ">", after), (">=" if self._descending else "<=", until)):
            if end is not None:
                queryset = queryset.filter(self._key.compared(sign, end, self._vendor))
        return queryset

    def _border(self, after: Any, count: int) -> Any:
        """Return the key that is ``count`` rows further, with the rows that do not fit the
        condition counted, too; None if there are fewer.
        """
        found = self._after(without_conditions(self._queryset), after).order_by(*self._key.order())
        nth = found.values_list(*self._key.names)[count - 1 : count]
        rows = fetch(nth, self._patience, may_be_slow=count == 1, check=self._replicas.check)
        return self._key.joined(rows[0]) if rows else None

    def _rows(self, after: Any, *, read_by_master: bool = False) -> Iterator[Any]:
        """Yield the rows after a key, page after page."""
        self._check_database()
        if self._vendor == "postgresql" and not self._may_repeat:
            self._may_repeat = self._may_differ = not is_kept_unique(self._queryset, self._key, self._patience)
        if self._low == 0 and self._key.number and not self._descending:
            _check_zero(self._queryset, self._key, self._vendor, self._patience)
        for page in self._walk(after):
            if read_by_master:
                reset_queries()  # with DEBUG, Django would keep the last 9,000 queries
            yield from page
            del page

    def _told_apart(self, page: list[Any]) -> list[Any]:
        """Return each object of a page once: a condition on related rows repeats it for each of
        them.

        Raises:
            SourceError: two rows have the same key and differ.
        """
        keys = [self.job_key(row) for row in page]
        for at, (one, other) in enumerate(pairwise(keys)):
            if one == other and not alike(page[at], page[at + 1]):
                raise SourceError(
                    f"Two rows of the queryset have the key {one!r} and differ, because it joins rows of another "
                    "table, or because the key is not unique; some would be left out. Begin with the other model, or "
                    "leave out what differs: a condition alone gives each object once."
                )
        return [row for at, row in enumerate(page) if at == 0 or keys[at] != keys[at - 1]]


def _check_zero(queryset: Any, key: Key, vendor: str, patience: float) -> None:
    """Check that ``min_id=0``, which is mostly the default of ``last``, leaves out no row.

    Raises:
        UsageError: it leaves out rows, and none has the key 0.
    """

    def end(rows: Any, *, descending: bool) -> Any:
        rows = rows.filter(key.compared("<=", 0, vendor))
        found = rows.order_by(*key.order(descending=descending)).values_list(*key.names)[:1]
        return next((key.joined(one) for one in found), 0)

    lowest, highest = (ask(as_objects(queryset), partial(end, descending=way), patience) for way in (False, True))
    if lowest >= 0:
        return
    text = (
        f"min_id=0 leaves out the rows of {key} from {lowest!r} on. If it is the default of `last`, write "
        "`def get_jobs(last=None)`; if they are to be left out, say so with .filter(pk__gte=0)"
    )
    if highest < 0:
        raise UsageError(f"{text}, and min_id=None.")
    logger.warning("%s.", text)  # a row has the key 0: the run may be one that resumes there


def bytes_of_a_row(page: Sequence[Any]) -> int:
    """Return about how many bytes a row takes in memory, with its related objects."""
    some = page[:: -(-len(page) // SAMPLED_ROWS)]
    found = 0
    waiting, seen = list(some), set(map(id, some))
    while waiting:
        value = waiting.pop()
        found += sys.getsizeof(value)
        for inside in _inside(value):
            # Objects may refer to each other, and a class does not belong to the page.
            if id(inside) not in seen and not isinstance(inside, type):
                seen.add(id(inside))
                waiting.append(inside)
    return max(1, found // len(some))


def _inside(value: Any) -> Iterable[Any]:
    """Return the values inside of a value: for an object, its dict, which is large itself."""
    if isinstance(value, Model):
        return vars(value), vars(value._state)
    if isinstance(value, QuerySet):  # a prefetched one, with its query
        return vars(value), vars(value.query)
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, tuple | list) else ()
