"""Finds blocks of ``transaction.atomic()`` that end without an exception and were rolled back.

An error that is caught inside of a block rolls back the whole block at its end: Django does so if
one of its own methods has raised the error, and PostgreSQL answers the commit with a rollback if a
statement has failed. If the connection is closed inside of a block, as by close_old_connections(),
what was written there is lost, too. None of these raises an error: a job that has written nothing
would count as done.

Used through ``taskmaster.django_orm.integration``. Django has no hook for this: its
``Atomic.__exit__`` and ``commit`` are wrapped, and do the same as before outside of a job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic, get_connection

__all__ = ["BlockUndone", "looked_at", "watch_from_here"]

LIBPQ_FAILED = 3  # the transaction has failed: a commit will be a rollback

_in_job: ContextVar[bool] = ContextVar("taskmaster_in_job", default=False)  # also set in sync_to_async's thread
_wrapped: list[str] = []


class BlockUndone(Exception):
    """A block of ``transaction.atomic()`` was rolled back, although no exception has left it."""


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


def _wrap() -> None:
    if not _wrapped:
        _wrapped.append("once in a process")
        Atomic.__exit__ = _exit(Atomic.__exit__)
        BaseDatabaseWrapper.commit = _commit(BaseDatabaseWrapper.commit)


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


def _has_failed(raw: Any) -> bool:
    libpq = getattr(raw, "pgconn", None)  # psycopg
    if libpq is not None:
        return bool(libpq.transaction_status == LIBPQ_FAILED)
    return hasattr(raw, "get_transaction_status") and raw.get_transaction_status() == LIBPQ_FAILED  # psycopg2


def _undone(connection: Any, cause: BaseException | None) -> BlockUndone:
    what = "a statement has failed in it" if cause is None else f"it met {type(cause).__name__}"
    return BlockUndone(
        f"A transaction of the database {connection.alias!r} was rolled back, with all that it had written, although "
        f"no exception has left its block: {what}, which was caught inside. Catch it around the block; or put what may "
        "fail into a transaction.atomic() of its own, and catch it around that."
    )
