"""One question at a time over Django's connection, asked again after the connection was lost.

For the sources of this package, in the thread that iterates them. A page is a query of its own:
nothing stays open between two of them, no cursor lives on the server, and no queryset keeps its
rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections

from taskmaster.django_orm.key import ReadableQuerySet
from taskmaster.django_orm.project import lacking
from taskmaster.django_orm.replicas import Behind
from taskmaster.errors import UsageError
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import reason
from taskmaster.sources.database_errors import is_final, said
from taskmaster.sources.database_retry import TooSlow, is_cancelled, passes, persistently

__all__ = ["ask", "borrowed", "fetch", "planned"]

logger = clean_logger(__name__)

Result = TypeVar("Result")

# Lost connections, too many of them, a lock that was waited for too long, a deadlock:
# https://dev.mysql.com/doc/mysql-errors/en/
MYSQL_PASSING = {1040, 1053, 1205, 1213, 2002, 2003, 2006, 2013, 4031}
MYSQL_TOO_LONG = {1317, 1969, 3024}  # max_execution_time, MariaDB's max_statement_time, KILL QUERY
_answered: set[str] = set()  # aliases of databases that have answered this process
SQLITE_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED")


def ask(
    queryset: ReadableQuerySet,
    question: Callable[[ReadableQuerySet], Result],
    patience: float,
    *,
    may_be_slow: bool = True,
    check: Callable[[str], None] | None = None,
) -> Result:
    """Return the answer of a database to a question.

    Args:
        queryset: tells the database: the one that it names, or the one that a router chooses, which
            may be another one each time.
        question: called with the queryset to ask.
        patience: seconds for which a database that cannot be read is asked again.
        may_be_slow: ask again, as it is, a query that the database has cancelled for its time.
        check: called with the name of the database before it is asked; raises ``Behind`` if another
            one should be, or the same one later.

    Raises:
        TooSlow: it took longer than the database lets a statement take.
        UsageError: the server refuses the connection for good, or the database lacks what the
            models have.
        SourceError: the database could not be read for longer than ``patience``.
        Exception: Django's own, for whatever does not pass by itself.
    """
    rows = queryset.using(queryset.db)
    if connections[rows.db].in_atomic_block:
        return question(rows)  # what is lost here is the caller's transaction, too

    def answer() -> Result:
        nonlocal rows
        rows = queryset.using(queryset.db)
        if check is not None:
            check(rows.db)
        found = question(rows)
        _answered.add(rows.db)
        return found

    def why(exc: Exception) -> str:
        if isinstance(exc, Behind):
            return str(exc)
        alias, vendor = rows.db, connections[rows.db].vendor
        # A server that has answered before and refuses now is most likely being replaced.
        if is_final(exc) and vendor == "postgresql" and alias not in _answered:
            raise UsageError(f"The server of the database {alias!r} refuses the connection: {said(exc)}") from exc
        if _took_too_long(exc, vendor) and not may_be_slow:
            raise TooSlow(str(exc).strip()) from exc
        if lacks := lacking(exc, alias):
            raise UsageError(lacks) from exc
        if not _passes(exc, vendor):
            raise exc
        return reason(exc)

    def recover() -> None:
        connections[rows.db].close()  # what was lost; the next attempt may ask another database

    return persistently(answer, recover, why, patience=patience)


def fetch(
    queryset: ReadableQuerySet, patience: float, *, may_be_slow: bool = True, check: Callable[[str], None] | None = None
) -> list[Any]:
    """Return the rows of a queryset, asked for as ``ask`` does."""
    return ask(queryset, list, patience, may_be_slow=may_be_slow, check=check)


def _took_too_long(exc: BaseException, vendor: str) -> bool:
    """Return whether a database has ended a statement for its time, or at somebody's wish."""
    return is_cancelled(exc) or (vendor == "mysql" and _mysql_code(exc) in MYSQL_TOO_LONG)


def _passes(exc: BaseException, vendor: str) -> bool:
    if vendor == "postgresql":
        return passes(exc)
    cause = exc.__cause__
    if vendor == "sqlite":
        return str(getattr(cause, "sqlite_errorname", "")).startswith(SQLITE_PASSING)
    return _mysql_code(exc) in {*MYSQL_PASSING, *MYSQL_TOO_LONG}


def _mysql_code(exc: BaseException) -> Any:
    return next(iter(getattr(exc.__cause__, "args", ())), None)


def planned(queryset: ReadableQuerySet) -> int | None:
    """Return about how many rows there are: from the planner's statistics on PostgreSQL, counted
    elsewhere; None if the database gives no time for it.
    """
    vendor = connections[queryset.db].vendor
    try:
        return _planned(queryset, vendor)
    except Exception as exc:
        if not _took_too_long(exc, vendor):
            raise
        logger.warning("how many rows there are is not known, which costs percent and time left: %s", reason(exc))
        return None


def _planned(queryset: ReadableQuerySet, vendor: str) -> int:
    if vendor != "postgresql":
        return int(queryset.count())
    plan = queryset.order_by().explain(format="json")
    # Nothing is asked of the server for a queryset that cannot have rows, as after none().
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0


@contextmanager
def borrowed() -> Iterator[None]:
    """Close, at the end of this block, the connections that were opened in it: the thread has no
    other use for them.
    """
    before = {connection.alias for connection in connections.all(initialized_only=True) if connection.connection}
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            if connection.alias not in before:
                connection.close()
