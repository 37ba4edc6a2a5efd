"""Django's connections: closed and checked around batches and jobs, as Django does around requests,
and around forks.

Used through ``taskmaster.django_orm.integration``, only in a process that uses Django. Connections
belong to a thread: each function is about those of the thread that calls it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections, connections, reset_queries

from taskmaster.django_orm.undone import is_written, not_looked_at, watch_from_here
from taskmaster.runtime.log import clean_logger

__all__ = [
    "CoroutineCheck",
    "JobLeftTransaction",
    "TransactionCheck",
    "close",
    "close_before_fork",
    "drop_after_fork",
    "has_begun",
    "refresh",
]

logger = clean_logger(__name__)

LIBPQ_OPEN = (1, 2, 3)  # libpq's states of an open transaction: a statement runs, it is idle, it has failed


class JobLeftTransaction(Exception):
    """A job or a hook has ended and left a transaction open."""


# Connections of the parent process. They are kept here: if one was garbage-collected, it would
# close the parent's session on the server.
_inherited: list[Any] = []


def refresh() -> None:
    """Close connections that are unusable, or older than ``CONN_MAX_AGE``; clear the list of
    queries that Django keeps with DEBUG.
    """
    if settings.configured:
        try:
            reset_queries()
            close_old_connections()
        except Exception:
            logger.warning("old connections of Django's could not be closed", exc_info=True)


class TransactionCheck:
    """Finds transactions that a job leaves open on the connections of this thread.

    Args:
        surrounded: whether transactions that are open now are the caller's, as in a test: jobs run
            in the process that started the run.
    """

    def __init__(self, *, surrounded: bool) -> None:
        self._connections = _all()
        self._left_alone = {one.alias for one in self._connections if surrounded and _may_be_open(one)}

    @property
    def may_be_open(self) -> bool:
        """Whether a transaction may be open, or a connection is lost; asked from any thread."""
        return any(_may_be_open(one) or _is_lost(one) for one in self._connections if one.alias not in self._left_alone)

    def check(self) -> None:
        """Check that no transaction is open, and close lost connections: if a job has caught the
        error of one, the next job would meet it.

        Raises:
            JobLeftTransaction: one is open; it was rolled back, as Django does after a request.
        """
        for connection in self._connections:
            if _is_lost(connection) and not connection.in_atomic_block:
                connection.close()
            if _may_be_open(connection):
                if connection.alias in self._left_alone:
                    continue
                try:
                    _end_transaction(connection)
                finally:
                    self._connections = _all()


class CoroutineCheck:
    """Finds transactions that coroutines leave open: Django runs their queries in one thread, with
    one connection for all of them.

    Args:
        surrounded: as for ``TransactionCheck``.
    """

    def __init__(self, *, surrounded: bool) -> None:
        self._surrounded = surrounded
        self._check: TransactionCheck | None = None
        self._rolled_back = 0

    async def awaited(self, work: Awaitable[Any]) -> Any:
        """Await a job's result, and check that no transaction is open, and none was rolled back.

        Raises:
            JobLeftTransaction: one is open, or was at the end of a job that ran meanwhile; what
                both have written was rolled back.
        """
        if self._check is None:
            self._check = await sync_to_async(TransactionCheck)(surrounded=self._surrounded)
        before = self._rolled_back
        watch_from_here()
        try:
            result = await work
        except BaseException:
            with suppress(JobLeftTransaction):
                await self._see(self._check)
            raise
        await self._see(self._check)
        if self._rolled_back != before:
            raise JobLeftTransaction(
                "Another job of this worker left a transaction open, and Django has one connection for all coroutines: "
                "what this job wrote may have been rolled back with it. End transactions in the function that begins "
                "them, sync_to_async(...), with transaction.atomic() as a context."
            )
        return result

    async def _see(self, check: TransactionCheck) -> None:
        if check.may_be_open:  # mostly it is not, which saves the call in the other thread
            try:
                await sync_to_async(check.check)()
            except JobLeftTransaction:
                self._rolled_back += 1
                raise


def _all() -> list[Any]:
    """Return this thread's connections, one for each database. ``TransactionCheck`` keeps the list:
    making it takes longer than a short job.
    """
    try:
        return list(connections.all())
    except Exception:  # a driver is not installed: no job can use such a database
        return list(connections.all(initialized_only=True))


def _may_be_open(connection: Any) -> bool:
    raw = connection.connection
    return raw is not None and (connection.in_atomic_block or not connection.autocommit or has_begun(raw))


def _is_lost(connection: Any) -> bool:
    """Return whether the driver knows that the connection is lost; the server is not asked."""
    return bool(getattr(connection.connection, "closed", False))  # psycopg, psycopg2


def has_begun(raw: Any) -> bool:
    """Return whether a driver's connection is in a transaction, as after a BEGIN that Django does
    not know of; the server is not asked.
    """
    libpq = getattr(raw, "pgconn", None)  # psycopg
    if libpq is not None:
        return libpq.transaction_status in LIBPQ_OPEN
    if hasattr(raw, "get_transaction_status"):  # psycopg2
        return raw.get_transaction_status() in LIBPQ_OPEN
    return bool(getattr(raw, "in_transaction", False))  # SQLite; MySQL's driver cannot tell


def _end_transaction(connection: Any) -> None:
    alias = connection.alias
    written = connection.in_atomic_block or is_written(connection)
    # The connection is closed and dropped: the next job gets a new one, with default settings.
    with not_looked_at():
        connection.close()
    del connections[alias]
    if written:
        raise JobLeftTransaction(
            f"A transaction of the database {alias!r} was left open, so that what was written in it was rolled back: "
            "end it with commit(), or use transaction.atomic() as a context."
        )


def close() -> None:
    """Close this thread's connections, at its end."""
    for connection in _opened():
        try:
            connection.close()
        except Exception:
            logger.debug("a connection could not be closed", exc_info=True)


def close_before_fork() -> None:
    """Close connections that a forked child would share; one with an open transaction stays."""
    for connection in _opened():
        if not connection.in_atomic_block:
            connection.close()
            # The threads of psycopg's pool would not exist after the fork.
            if hasattr(connection, "close_pool"):
                connection.close_pool()


def drop_after_fork() -> None:
    """Let the child open its own connections; the parent's are neither used nor closed here."""
    for connection in _opened():
        _inherited.append(connection)
        del connections[connection.alias]


def _opened() -> Iterator[Any]:
    try:
        return iter(list(connections.all(initialized_only=True)) if settings.configured else ())
    except Exception:
        # DATABASES is wrong: no connection can be open, and the first use of one raises the error.
        logger.debug("Django's connections cannot be listed", exc_info=True)
        return iter(())
