"""Queries of the sources over Django's connections, repeated after errors that pass.

For the thread that iterates a source. A page is a query of its own: between two of them, no
transaction or cursor is open on the server, and no queryset keeps its rows.
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

# Errors that pass: lost connections, too many connections, a time-out of a lock, a deadlock:
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
    """Return the result of a query.

    Args:
        queryset: names the database; without a name, routers choose one, perhaps another one for
            each attempt.
        question: function that runs the query over the queryset that it is given.
        patience: seconds for which a database that cannot be read is asked again.
        may_be_slow: whether to run a query again that the database has cancelled after a time-out.
        check: function that is called with the alias of the database before each attempt; raises
            ``Behind`` if that database is not to be asked yet.

    Raises:
        TooSlow: the query took too long, and ``may_be_slow`` is false.
        UsageError: the server refuses the connection for a reason that does not pass, or the
            database lacks a table or a column of the models.
        SourceError: the database could not be read for longer than ``patience``.
        Exception: an error of Django's that does not pass by itself.
    """
    rows = queryset.using(queryset.db)
    if connections[rows.db].in_atomic_block:
        return question(rows)  # an error here ends the caller's transaction: a retry would not help

    def answer() -> Result:
        nonlocal rows
        rows = queryset.using(queryset.db)
        if check is not None:
            check(rows.db)
        found = question(rows)
        _answered.add(rows.db)
        return found

    def recover() -> None:
        connections[rows.db].close()  # the next attempt may ask another database

    def why(exc: Exception) -> str:
        return _explained(exc, rows.db, may_be_slow=may_be_slow)

    return persistently(answer, recover, why, patience=patience)


def _explained(exc: Exception, alias: str, *, may_be_slow: bool) -> str:
    """Return a description of an error that passes by itself; raise for any other, as ``ask``."""
    if isinstance(exc, Behind):
        return str(exc)
    vendor = connections[alias].vendor
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


def fetch(
    queryset: ReadableQuerySet, patience: float, *, may_be_slow: bool = True, check: Callable[[str], None] | None = None
) -> list[Any]:
    """Return the rows of a queryset; see ``ask``."""
    return ask(queryset, list, patience, may_be_slow=may_be_slow, check=check)


def _took_too_long(exc: BaseException, vendor: str) -> bool:
    """Return whether a database has cancelled a statement, by a time-out or for a person."""
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
    """Return how many rows there are, on PostgreSQL by the planner's estimate, elsewhere by a
    count; None if that takes too long for the database.
    """
    vendor = connections[queryset.db].vendor
    try:
        return _planned(queryset, vendor)
    except Exception as exc:
        if not _took_too_long(exc, vendor):
            raise
        logger.warning("the rows cannot be counted, so that percent and time left are not shown: %s", reason(exc))
        return None


def _planned(queryset: ReadableQuerySet, vendor: str) -> int:
    if vendor != "postgresql":
        return int(queryset.count())
    plan = queryset.order_by().explain(format="json")
    # Django sends no query for a queryset that cannot have rows, as after none().
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0


@contextmanager
def borrowed() -> Iterator[None]:
    """Close the connections that are opened in the ``with`` block at its end, in a thread that has
    no other use for them.
    """
    before = {connection.alias for connection in connections.all(initialized_only=True) if connection.connection}
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            if connection.alias not in before:
                connection.close()
