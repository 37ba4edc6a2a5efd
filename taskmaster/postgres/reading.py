"""One statement at a time, tried again until it goes through.

Called by the sources of this package, each in one thread. A page or a border is a short read-only transaction of its
own: nothing stays open between two of them, no cursor lives on the server, and a connection pooler may stand between.
What passes by itself (a lost connection, a server that restarts, a standby that is in the way) is waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskmaster.retrying import TooSlow, persistently

__all__ = ["Connect", "Dsn", "Reading", "TooSlow", "connector"]

logger = logging.getLogger(__name__)

Connect = Callable[[], Any]
Dsn = str | Connect

CONNECTING = 10  # seconds for a connection
DEFAULT_NAME = "taskmaster/master"  # of a connection, where the DSN gives it none


def connector(dsn: Dsn) -> Connect:
    """What opens a connection: the user's own function, or psycopg2 with a DSN."""
    if callable(dsn):
        return dsn

    def connect() -> Any:
        import psycopg2

        # What the DSN itself says of these takes precedence.
        return psycopg2.connect(_with_defaults(psycopg2.extensions.parse_dsn(dsn)))

    return connect


def _with_defaults(known: dict[str, str]) -> str:
    import psycopg2

    defaults = {"connect_timeout": str(CONNECTING), "fallback_application_name": DEFAULT_NAME}
    return str(psycopg2.extensions.make_dsn(**{**defaults, **known}))


class Reading:
    """A connection for reading, opened when it is needed and whenever it was lost.

    Args:
        dsn: libpq's connection string or URL, or a function that returns a DB-API connection.
        patience: seconds for which what passes by itself is tried again.
        timeout: seconds that a statement may take; 0: as long as it likes.
        sleep: waits.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        dsn: Dsn,
        patience: float = 3600.0,
        timeout: float = 60.0,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connector(dsn)
        self._patience = patience
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock
        self._connection: Any = None

    def fetch(self, sql: str, values: Sequence[Any] = (), *, may_be_slow: bool = False) -> list[tuple[Any, ...]]:
        """The rows of a query, in a transaction of its own.

        Args:
            sql: with ``%s`` for each value.
            values: for these.
            may_be_slow: a statement that takes too long is tried again as it is.

        Raises:
            TooSlow: the statement took longer than it may.
            SourceError: it failed again and again, for longer than ``patience``.
            Exception: the driver's own, for whatever does not pass by itself.
        """
        return persistently(
            lambda: self._fetch(sql, values),
            self.close,
            patience=self._patience,
            may_be_slow=may_be_slow,
            sleep=self._sleep,
            clock=self._clock,
        )

    def close(self) -> None:
        """Give the connection up; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception:
                logger.debug("the connection could not be closed", exc_info=True)

    def _fetch(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            # In one round trip, and gone with the transaction: behind a pooler, the next one is somebody else's.
            cursor.execute(
                f"BEGIN READ ONLY; SET LOCAL statement_timeout = {int(1000 * self._timeout)}; "
                "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'"
            )
            # With values, also if there are none: only then is %% a percent sign.
            cursor.execute(sql, tuple(values))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            cursor.execute("COMMIT")
        return rows
