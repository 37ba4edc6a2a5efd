"""The rows of a queryset, read by pages along a key.

Called by the user's module, in a loop of ``get_jobs`` or as the source itself;
``taskmaster.django_orm.integration`` wraps a queryset that is given as a source in it. Each page is
a query that begins after the last key, which an index answers without a look at what lies before.
Memory holds one page, however many there are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from django.db import connections, reset_queries
from django.db.models import Model
from django.db.models.query import (
    FlatValuesListIterable,
    ModelIterable,
    NamedValuesListIterable,
    ValuesIterable,
    ValuesListIterable,
)

from taskmaster.django_orm.description import describe
from taskmaster.django_orm.key import Key
from taskmaster.django_orm.queries import ask, borrowed, fetch, planned
from taskmaster.django_orm.readable import as_objects, in_key_order, readable, refuse_partial_groups
from taskmaster.errors import SourceError, UsageError
from taskmaster.sources.database_retry import TooSlow
from taskmaster.sources.key_bounds import fraction

__all__ = ["RangeQuerySetWrapper"]

logger = logging.getLogger(__name__)

NAME = "RangeQuerySetWrapper"
NOT_GIVEN: Any = object()


class RangeQuerySetWrapper:
    """Iterates a queryset of any size by pages along a key; also a source that resumes at its key.

    Args:
        queryset: or a manager; not sliced, and in no other order than that of the key. ``filter``,
            ``select_related``, ``prefetch_related``, ``only``, ``annotate`` and ``using`` are kept,
            and so are ``values`` and ``values_list`` with the key in them.
        step: rows of a page; a negative one means ``descending``.
        min_id: the lowest key to read, itself included; a tuple where the key has several fields.
            None: from the lowest there is. In descending order it is where reading ends, and wants
            ``max_id`` beside it.
        max_id: the highest key to read, itself included; None: up to the highest there is.
        key: a field, or several, that no two rows have the same, that are never NULL, and with
            which an index begins; with a ``-`` before each, descending.
        order_by: another name for ``key``.
        descending: from the highest key to the lowest, as with ``order_by("-pk")``. A loop goes on
            with ``max_id=last``.
        using: the database to read, if not that of the queryset.
        trusted: do not ask the model whether the key is unique, not NULL, and indexed.
        patience: seconds for which a database that cannot be read is tried again before it is given
            up.

    Raises:
        UsageError: the queryset or the key is none that can be read in this way; says what to write
            instead.

    Example::

        def get_jobs(last=None):
            for post in RangeQuerySetWrapper(Post.objects.all(), min_id=last):
                yield post
    """

    def __init__(  # noqa: PLR0913  # what can be said of a loop over a table, each word once
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
            raise UsageError(f"step={step!r}: a page has at least one row; a negative number means descending order.")
        if key is not None and order_by is not None:
            raise UsageError("key and order_by mean the same: give one of them.")
        queryset = readable(queryset, NAME)
        queryset = queryset.using(using) if using is not None else queryset
        wanted = next((one for one in (key, order_by) if one is not None), "pk")
        self._queryset, down = in_key_order(queryset, NAME, wanted)
        self._key = Key(queryset.model, wanted, descending=descending or step < 0 or down, unique=True, trusted=trusted)
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
        refuse_partial_groups(self._queryset, NAME, self._key)
        self._step = abs(step)
        self._patience = patience
        self._parts = _parts_of(self._queryset, self._key)
        self._may_repeat = trusted or _may_repeat(self._queryset)
        self._ends: tuple[Any, Any] | None = None  # lowest and highest key when the run was new
        self._fixed = False

    def __repr__(self) -> str:
        return f"rows of {self._key}"

    def __iter__(self) -> Iterator[Any]:
        """The rows, in the order of their keys; those too that come meanwhile, above the key that
        was read last.
        """
        return self._rows(None)

    # -- what the master calls, where it is a source -----------------------------------------------

    def fix(self, bound: Any) -> Any:
        """Decide which rows belong to the run, or take over what was decided: those up to the
        highest key there is.

        Args:
            bound: what this gave when the run was new.

        Returns:
            The lowest and the highest key; None if there is no row.
        """
        if bound is not None:
            low, high = (self._key.checked(end, "the key at which this run was to end") for end in bound)
            self._ends = (low, high)
        else:
            ends = [self._end(descending=descending) for descending in (False, True)]
            self._ends = None if None in ends else (ends[0], ends[1])
        self._fixed = True
        return self._ends

    def iterate(self, last: Any) -> Iterator[Any]:
        """The rows after a key, or all of them."""
        after = None if last is None else self._key.checked(last, "the key from which this run was to be resumed")
        if not self._fixed:
            self.fix(None)
        return self._rows(after, read_by_master=True) if self._ends is not None else iter(())

    def total(self) -> int | None:
        """About how many rows there are; asked in a thread of its own."""
        with borrowed():
            return planned(self._bounded(self._queryset))

    def position(self, key: Any) -> float | None:
        """Which share of the keys lies up to one; None where one cannot reckon with them."""
        if self._ends is None or not self._key.number:
            return None
        low, high, at = (float(end) for end in (*self._ends, key))
        return fraction(high, low, at) if self._key.descending else fraction(low, high, at)

    def job_key(self, job: Any) -> Any:
        """Return the key of a row."""
        return self._key.joined(self._parts(job))

    def identity(self) -> str:
        """Return what is read, as ``describe`` does: a state belongs to it."""
        # Asked for as rows are: some databases are asked for their version for it.
        read = self._bounded(self._queryset, own_ends=False)
        return ask(read, lambda _: describe(read, self._key), self._patience)

    # -- inside ------------------------------------------------------------------------------------

    def _bounded(self, queryset: Any, *, own_ends: bool = True) -> Any:
        """Return a queryset with the conditions of ``min_id`` and ``max_id``, and of where the run
        ends (``own_ends``).
        """
        vendor = connections[queryset.db].vendor
        low, high = self._ends if self._ends is not None and own_ends else (None, None)
        down = self._key.descending
        for sign, end in ((">=", self._low), ("<=", self._high), (">=" if down else "<=", low if down else high)):
            if end is not None:
                queryset = queryset.filter(self._key.compared(sign, end, vendor))
        return queryset

    def _end(self, *, descending: bool) -> Any:
        self._key.check_database(connections[self._queryset.db].vendor)
        plain = self._bounded(as_objects(self._queryset))
        found = plain.order_by(*self._key.order(descending=descending)).values_list(*self._key.names)[:1]
        rows = fetch(found, self._patience)
        return self._key.joined(rows[0]) if rows else None

    def _page(self, after: Any, count: int) -> Any:
        """The query of a page."""
        queryset = self._bounded(self._queryset)
        if after is not None:
            sign = "<" if self._key.descending else ">"
            queryset = queryset.filter(self._key.compared(sign, after, connections[queryset.db].vendor))
        return queryset.order_by(*self._key.order())[:count]

    def _rows(self, after: Any, *, read_by_master: bool = False) -> Iterator[Any]:
        """Yield the rows after a key, page after page."""
        self._key.check_database(connections[self._queryset.db].vendor)
        count = self._step
        while True:
            try:
                # One row more tells whether the last key goes on behind the page.
                page = fetch(self._page(after, count + self._may_repeat), self._patience, may_be_slow=count == 1)
            except TooSlow as exc:
                count = max(1, count // 4)
                logger.warning("a page of %s was too slow, and is asked for again with %d rows: %s", self, count, exc)
                continue
            if read_by_master:
                reset_queries()  # of a loop that runs for days, DEBUG would keep the last 9,000
            rows = self._told_apart(page)
            short = len(page) < count + self._may_repeat
            if len(page) > count and self.job_key(page[-1]) != self.job_key(page[-2]):
                rows.pop()  # it is read again with the next page
            if page:
                # Now: a row may be deleted by whatever gets it, and then it has no key any more.
                before, after = after, self.job_key(page[:count][-1])
                self._check_progress(before, after, count)
            del page
            yield from rows
            del rows
            if short:
                return
            # Slowly: where a page was too slow, the next size that is costs as much again.
            count = min(self._step, count + -(-count // 8))

    def _check_progress(self, before: Any, after: Any, count: int) -> None:
        """See that a page has led on.

        Raises:
            SourceError: it has not, and the same rows would be read for ever.
        """
        if before is not None and before == after:
            raise SourceError(
                f"The {count} rows after the key {before!r} end with the same key: the database compares another value "
                "than it gives, as one that rounds numbers or has its own spelling does. Read along another key."
            )

    def _told_apart(self, page: list[Any]) -> list[Any]:
        """Return each object once: a condition on many related rows gives it as often as there are
        such rows.

        Raises:
            SourceError: two rows have one key and differ.
        """
        keys = [self.job_key(row) for row in page]
        for at, (one, other) in enumerate(pairwise(keys)):
            if one == other and not _alike(page[at], page[at + 1]):
                raise SourceError(
                    f"Two rows of the queryset have the key {one!r} and differ, because it joins rows of another "
                    "table, or because the key is not unique; some would be left out. Begin with the other model, or "
                    "leave out what differs: a condition alone gives each object once."
                )
        return [row for at, row in enumerate(page) if at == 0 or keys[at] != keys[at - 1]]


def _may_repeat(queryset: Any) -> bool:
    """Return whether one key may have several rows: those of a joined table, or of a view."""
    query = queryset.query
    joined = len(query.alias_map) > 1 or query.extra_tables or getattr(query, "_filtered_relations", None)
    return bool(joined) or not queryset.model._meta.managed


def _alike(one: Any, other: Any) -> bool:
    """Return whether two rows of one key are the same, with all that was selected beside them."""
    if not isinstance(one, Model):
        return bool(one == other)
    left, right = (
        {**vars(row), "_state": row._state.fields_cache, "_prefetched_objects_cache": None} for row in (one, other)
    )
    return bool(left == right)


def _parts_of(queryset: Any, key: Key) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values of the key's fields out of a row."""
    kind = queryset._iterable_class
    query = queryset.query
    if issubclass(kind, ModelIterable):
        _refuse_deferred(query, key)
        return lambda row: tuple(getattr(row, name) for name in key.names)
    # In the order of what the rows have: values() without a name is all fields.
    names = list(queryset._fields or [*query.extra_select, *query.values_select, *query.annotation_select])
    if "pk" in names and len(key.names) > 1 and key.primary:
        return _whole_key_of(kind, names)
    places = [names.index(one) for one in (_called(name, names, key) for name in key.names) if one is not None]
    if len(places) < len(key.names) or kind not in (
        ValuesIterable, ValuesListIterable, NamedValuesListIterable, FlatValuesListIterable
    ):  # fmt: skip
        wanted = ", ".join(map(repr, key.names))
        raise UsageError(
            f"The rows of the queryset have {', '.join(map(str, names)) or 'no field'}, and not the key, {wanted}, at "
            f"which reading goes on: add it, as in .values_list({wanted}, ...), without flat=True unless it is the key "
            "alone; or use .only(...), which gives objects."
        )
    if issubclass(kind, FlatValuesListIterable):
        return lambda row: (row,)
    if issubclass(kind, ValuesIterable):
        wanted_names = [names[place] for place in places]
        return lambda row: tuple(row[name] for name in wanted_names)
    return lambda row: tuple(row[place] for place in places)


def _refuse_deferred(query: Any, key: Key) -> None:
    """See that objects come with their key: each would be asked for its own, one query a row."""
    names, deferred = query.deferred_loading
    missing = ", ".join(map(repr, key.left_out(names, deferred=deferred)))
    if missing:
        method, cure = ("defer", "take it out") if deferred else ("only", "add it")
        raise UsageError(
            f"The queryset's .{method}(...) leaves out {missing}, at which reading goes on: {cure} there, or each row "
            "would cost a query of its own."
        )


def _whole_key_of(kind: Any, names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """The same where a composite primary key is one value of the row."""
    if issubclass(kind, FlatValuesListIterable):
        return tuple
    place: Any = "pk" if issubclass(kind, ValuesIterable) else names.index("pk")
    return lambda row: tuple(row[place])


def _called(name: str, names: list[str], key: Key) -> str | None:
    """What a field is called in ``values()``: ``author_id`` may be ``author``, and the primary key
    ``pk``.
    """
    meta = key.model._meta
    field = next(one for one in meta.concrete_fields if one.attname == name)
    also = ["pk"] if field is meta.pk else []
    return next((one for one in (name, field.name, *also) if one in names), None)
