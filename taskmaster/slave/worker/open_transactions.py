"""Transactions that are still open when a worker ends: ``INSERT``, and no ``commit()``.

The server, or SQLite, rolls them back, although their jobs are done. Connections are found as the
garbage collector knows them; a transaction that has only read loses nothing, and is left alone.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["OpenTransactions", "connections"]

# None for a transaction that has written nothing.
WRITTEN = "SELECT txid_current_if_assigned()"


class OpenTransactions:
    """Finds them.

    Args:
        others: Connections that are not asked; None: those that have an open transaction already,
            for that is the script's, which this process was forked from.
    """

    def __init__(self, others: Iterable[Any] | None = None) -> None:
        self._others = [one for one, _ in _found()] if others is None else list(others)

    def sentences(self) -> list[str]:
        """Return what is lost, one sentence for each kind of connection."""
        kinds = {kind for one, kind in _found() if not any(one is known for known in self._others)}
        return [
            f"a connection of {kind} has an open transaction, and what was written in it is rolled back: call its "
            "commit(), in teardown() at the latest"
            for kind in sorted(kinds)
        ]


def connections() -> list[Any]:
    """Return all connections that there are in this process."""
    return [one for one, _, _ in _known()]


def _found() -> Iterator[tuple[Any, str]]:
    for one, kind, look in _known():
        try:
            if look(one):
                yield one, kind
        except Exception:  # noqa: S112  # it is closed, broken, or another thread's
            continue


def _known() -> Iterator[tuple[Any, str, Callable[[Any], bool]]]:
    looks = {
        base: (kind, look)
        for kind, module, name, look in (
            ("sqlite3", "sqlite3", "Connection", _sqlite_has_written),
            ("psycopg2", "psycopg2.extensions", "connection", _psycopg2_has_written),
            ("psycopg", "psycopg", "Connection", _psycopg_has_written),
            ("psycopg", "psycopg", "AsyncConnection", _psycopg_has_written),
        )
        if (base := getattr(sys.modules.get(module), name, None)) is not None
    }
    for one in gc.get_objects() if looks else ():
        # Only the type is asked: a proxy may run anything when it is asked for its class.
        for base, (kind, look) in looks.items():
            if issubclass(type(one), base):
                yield one, kind, look


def _sqlite_has_written(connection: Any) -> bool:
    if not connection.in_transaction:
        return False
    try:
        files = [row[2] for row in connection.execute("PRAGMA database_list")]
    except Exception:  # a thread's own, which may be asked for nothing here
        return True
    return any(files)  # of a database in memory, nothing would be left anyway


def _psycopg2_has_written(connection: Any) -> bool:
    if connection.closed or connection.async_ or connection.get_transaction_status() != 2:  # INTRANS
        return False
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN)
        return cursor.fetchone()[0] is not None


def _psycopg_has_written(connection: Any) -> bool:
    link = connection.pgconn  # libpq's own: an asynchronous connection would want its event loop
    if connection.closed or link.transaction_status != 2:  # INTRANS
        return False
    return link.exec_(WRITTEN.encode()).get_value(0, 0) is not None
