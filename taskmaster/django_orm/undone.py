"""Finds blocks of ``transaction.atomic()`` that end without an exception and were rolled back.

An error that is caught inside of a block rolls back the whole block at its end: Django does so if
one of its own methods has raised the error, and PostgreSQL answers the commit with a rollback if a
statement has failed. If the connection is closed inside of a block, or without autocommit before
its commit(), as by close_old_connections(), what was written is lost, too. None of these raises an
error: a job that has written nothing would count as done.

Used through ``taskmaster.django_orm.integration``. Django has no hook for this: its
``Atomic.__exit__``, ``commit`` and ``close`` are wrapped, and do the same as before outside of a
job.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic, get_connection

__all__ = ["BlockUndone", "is_written", "looked_at", "not_looked_at", "watch_from_here"]

LIBPQ_IDLE = 2  # in a transaction that can still be committed
LIBPQ_FAILED = 3  # the transaction has failed: a commit will be a rollback

_in_job: ContextVar[bool] = ContextVar("taskmaster_in_job", default=False)  # also set in sync_to_async's thread
_wrapped: list[str] = []


class BlockUndone(Exception):
    """A block of ``transaction.atomic()``, or a transaction without one, was rolled back, although
    no exception has left it.
    """


@contextmanager
def looked_at() -> Iterator[None]:
    """Have blocks that are rolled back in this thread raise ``BlockUndone``, until the end of the
    ``with`` statement.
    """
    _wrap()
    token = _in_job.set(True)
    try:
        yield
    finally:
        _in_job.reset(token)


def watch_from_here() -> None:
    """Have rolled-back blocks raise ``BlockUndone`` in the rest of this coroutine's context."""
    _wrap()
    _in_job.set(True)


@contextmanager
def not_looked_at() -> Iterator[None]:
    """Have nothing raise ``BlockUndone`` until the end of the ``with`` statement."""
    token = _in_job.set(False)
    try:
        yield
    finally:
        _in_job.reset(token)


def is_written(connection: Any) -> bool:
    """Return whether the open transaction may have written something."""
    raw = connection.connection
    try:
        if connection.vendor == "postgresql":
            with raw.cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
                return bool(cursor.fetchone()[0])
        if connection.vendor == "sqlite":
            return bool(raw.in_transaction)
    except Exception:  # for example, the transaction has failed
        return True
    # Other databases do not tell. Without autocommit, the connection looks the same after a commit,
    # which is no fault of the job.
    return bool(connection.settings_dict["AUTOCOMMIT"])


def _wrap() -> None:
    if not _wrapped:
        _wrapped.append("once in a process")
        Atomic.__exit__ = _exit(Atomic.__exit__)
        BaseDatabaseWrapper.commit = _commit(BaseDatabaseWrapper.commit)
        BaseDatabaseWrapper.close = _close(BaseDatabaseWrapper.close)


def _exit(plain: Any) -> Any:
    """Return an ``Atomic.__exit__`` that raises ``BlockUndone``."""

    @wraps(plain)
    def leave(self: Any, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if not _in_job.get():
            plain(self, exc_type, exc_value, traceback)
            return
        connection = get_connection(self.using)
        marked, closed = connection.needs_rollback, connection.closed_in_transaction
        plain(self, exc_type, exc_value, traceback)
        if closed and exc_type is None:
            raise BlockUndone(
                f"The connection of the database {connection.alias!r} was closed inside of a block of "
                "transaction.atomic(), and the server has rolled back what was written there. Call "
                "close_old_connections() and close() outside of it."
            )
        # Django notes the error of its own methods; an intended set_rollback(True) has none.
        cause = connection.rollback_exc
        if connection.needs_rollback:
            # A block without a savepoint has passed its error on to the block around it.
            connection.rollback_exc = cause or exc_value
            return
        connection.rollback_exc = None
        if exc_type is None and marked and cause is not None:
            raise _undone(connection, cause) from cause

    return leave


def _commit(plain: Any) -> Any:
    """Return a ``commit`` that raises ``BlockUndone`` if the server has rolled back instead."""

    @wraps(plain)
    def commit(self: Any) -> None:
        failed = _in_job.get() and _has_failed(self.connection)
        plain(self)
        if failed:
            raise _undone(self, None)

    return commit


def _close(plain: Any) -> Any:
    """Return a ``close`` that raises if what was written is lost; in a block, its end does."""

    @wraps(plain)
    def close(self: Any) -> None:
        raw = self.connection
        loses = (
            _in_job.get()
            and raw is not None
            and not self.in_atomic_block
            # While an error is handled, or after one that has failed it, the loss is known.
            and sys.exc_info()[0] is None
            and (_status(raw) == LIBPQ_IDLE or getattr(raw, "in_transaction", False))  # SQLite has the latter
            and is_written(self)
        )
        plain(self)
        if loses:
            raise BlockUndone(
                f"The connection of the database {self.alias!r} was closed in a transaction, and what was written in "
                "it is rolled back: call commit() before close() and close_old_connections(), or rollback() if that "
                "is meant."
            )

    return close


def _has_failed(raw: Any) -> bool:
    return _status(raw) == LIBPQ_FAILED


def _status(raw: Any) -> int | None:
    """Return the state of the transaction as libpq has it; None for another database's driver."""
    libpq = getattr(raw, "pgconn", None)  # psycopg
    if libpq is not None:
        return int(libpq.transaction_status)
    return raw.get_transaction_status() if hasattr(raw, "get_transaction_status") else None  # psycopg2


def _undone(connection: Any, cause: BaseException | None) -> BlockUndone:
    what = "a statement has failed in it" if cause is None else f"it met {type(cause).__name__}"
    return BlockUndone(
        f"A transaction of the database {connection.alias!r} was rolled back, with all that it had written, although "
        f"no exception has left its block: {what}, which was caught inside. Catch it around the block; or put what may "
        "fail into a transaction.atomic() of its own, and catch it around that."
    )
