"""Django's connections around what workers and the master do, as Django treats them around
requests.

Called through ``taskmaster.django_orm.integration``, and only in a process that uses Django.
Connections belong to a thread: each function is about those of the thread that calls it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connections, reset_queries

__all__ = ["close", "close_before_fork", "drop_after_fork", "refresh"]

logger = logging.getLogger(__name__)

# Of the parent process: kept, for an object that is thrown away says goodbye to the server in the
# parent's name.
_inherited: list[Any] = []


def refresh() -> None:
    """Close connections that are unusable, or older than ``CONN_MAX_AGE``; forget the queries that
    DEBUG has kept.
    """
    if settings.configured:
        try:
            reset_queries()
            close_old_connections()
        except Exception:
            logger.warning("Django's connections could not be looked after", exc_info=True)


def close() -> None:
    """Close this thread's connections: it ends."""
    for connection in _opened():
        try:
            connection.close()
        except Exception:
            logger.debug("a connection could not be closed", exc_info=True)


def close_before_fork() -> None:
    """Close what a forked child would have, too; a transaction that is open stays the caller's."""
    for connection in _opened():
        if not connection.in_atomic_block:
            connection.close()
            # psycopg's pool, whose threads would not be there after the fork.
            if hasattr(connection, "close_pool"):
                connection.close_pool()


def drop_after_fork() -> None:
    """Let the child open its own; those of the parent are neither used nor closed here."""
    for connection in _opened():
        _inherited.append(connection)
        del connections[connection.alias]


def _opened() -> Iterator[Any]:
    try:
        return iter(list(connections.all(initialized_only=True)) if settings.configured else ())
    except Exception:
        # DATABASES cannot be used; then nothing is open, and whoever asks for a connection is told.
        logger.debug("Django's connections cannot be listed", exc_info=True)
        return iter(())
